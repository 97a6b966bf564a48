package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

// record has the handler answer a request that net/http would have let through; nil for others. Its caller goes away soon: a watch, by whatever
// spelling of its path, and a wait for a token would keep the fuzzer from all else.
func (s *site) record(method, target, body string) *httptest.ResponseRecorder {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://broker"+target, strings.NewReader(body))
	if err != nil || r.URL.Host != "broker" {
		return nil
	}
	r.Header.Set("Grpc-Timeout", "20m")
	w := httptest.NewRecorder()
	s.gateway.ServeHTTP(w, r)
	return w
}

// FuzzJSONPaths: whatever is asked, there is an answer in the form that is promised, with a status that fits, and a token's value is only
// in the answers that are for it.
func FuzzJSONPaths(f *testing.F) {
	for _, seed := range []struct{ method, target, body string }{
		{"GET", "/v1/tokens/shop.stable", ""}, {"HEAD", "/v1/tokens/shop.stable?min_ttl=5m", ""}, {"GET", "/v1/tokens", ""},
		{"GET", "/v1/status", ""}, {"POST", "/v1/tokens/shop.stable:reportInvalid", `{"version":"1"}`},
		{"POST", "/v1/tokens/shop.stable:reportInvalid", `{"accessToken":"x"}`}, {"GET", "/v1/tokens/a%2F..%2Fb:watch", ""},
		{"GET", "/v1/tokens/%00", ""}, {"GET", "/v1/tokens/a%ff:reportInvalid", ""}, {"GET", "/openapi.json?x", ""}, {"PATCH", "/v1//tokens/a:b:c", "\x00"},
	} {
		f.Add(seed.method, seed.target, seed.body)
	}
	s := newSite(f)
	s.commit(stable, 1000*time.Hour)
	f.Fuzz(func(t *testing.T, method, target, body string) {
		w := s.record(method, target, body)
		if w == nil || w.Header().Get("Content-Type") == "text/event-stream" {
			return
		}
		if w.Header().Get("Content-Type") == "application/json; encoding=utf-8" {
			return // FuzzCompatiblePaths
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%q: %v", target, w.Header())
		}
		if w.Code == http.StatusOK {
			if !json.Valid(w.Body.Bytes()) || strings.Contains(w.Body.String(), "SECRET") != strings.Contains(target, "shop.stable") && !strings.Contains(target, "%") {
				t.Fatalf("%s %q: %s", method, target, w.Body)
			}
			return
		}
		var st statuspb.Status
		if err := protojson.Unmarshal(w.Body.Bytes(), &st); err != nil || w.Code < 400 || st.GetMessage() == "" {
			t.Fatalf("%s %q: %d, %v: %s", method, target, w.Code, err, w.Body)
		}
		if code := runtime.HTTPStatusFromCode(codes.Code(st.GetCode())); code >= 500 && code != http.StatusNotImplemented && code < 503 || strings.Contains(w.Body.String(), "SECRET") {
			t.Fatalf("%s %q: %d: %s", method, target, w.Code, w.Body)
		}
	})
}

// FuzzCompatiblePaths: whatever is asked, the answer is a token or an errcode, and a token only for the right secret.
func FuzzCompatiblePaths(f *testing.F) {
	for _, seed := range []struct{ method, target, body string }{
		{"GET", "/cgi-bin/token" + goodQuery, ""}, {"POST", "/cgi-bin/stable_token", goodBody}, {"POST", "/cgi-bin/stable_token", forceBody},
		{"GET", "/cgi-bin/token?grant_type=client_credential&appid=x&secret=%ff", ""}, {"POST", "/cgi-bin/stable_token", `{"secret":{}}`},
		{"POST", "/cgi-bin/stable_token", `{"force_refresh":"true"}`}, {"GET", "/cgi-bin/%74oken", ""}, {"DELETE", "/cgi-bin/", "x"},
	} {
		f.Add(seed.method, seed.target, seed.body)
	}
	s := newSite(f)
	s.commit(stable, 1000*time.Hour)
	s.commit(classic, 1000*time.Hour)
	f.Fuzz(func(t *testing.T, method, target, body string) {
		w := s.record(method, "/cgi-bin/"+strings.TrimPrefix(target, "/cgi-bin/"), body)
		if w == nil || w.Header().Get("Content-Type") != "application/json; encoding=utf-8" {
			return
		}
		var answer wechat
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || (answer.Code == 0) != (answer.Expires > 0) {
			t.Fatalf("%s %q %q: %d, %v: %s", method, target, body, w.Code, err, w.Body)
		}
		if answer.Token != "" && !strings.Contains(target+body, secret[:4]) && !strings.ContainsAny(target+body, `%\`) {
			t.Fatalf("%s %q %q: a token without the secret", method, target, body)
		}
	})
}
