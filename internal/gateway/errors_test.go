package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestErrorsAreStatusesInJSON(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	long := strings.Repeat("x", 1<<16)
	for _, c := range []struct {
		method, path, body string
		http               int
		code, message      string
	}{
		{"GET", "/v1/tokens/none", "", 404, "5", `no token "none"`},
		{"GET", "/v1/tokens/none:watch", "", 404, "5", `no token "none"`},
		{"POST", "/v1/tokens/none:reportInvalid", `{"version":1}`, 404, "5", `no token "none"`},
		{"GET", "/v1/tokens/Shop", "", 400, "3", "name: bad token name"},
		{"GET", "/v1/tokens/", "", 400, "3", "name: bad token name: it is empty"},
		{"GET", "/v1/tokens/a:b", "", 400, "3", "name: bad token name"},
		{"GET", "/v1/tokens/a%3Ab", "", 400, "3", "name: bad token name"},
		{"GET", "/v1/tokens/a%00b", "", 400, "3", "name: bad token name"},
		{"GET", "/v1/tokens/%E4%BD%A0", "", 400, "3", "name: bad token name"},
		{"GET", "/v1/tokens/a%ff", "", 400, "3", "not UTF-8"},
		{"GET", "/v1/tokens/" + long[:64], "", 400, "3", "64 bytes long"},
		{"GET", "/v1/tokens/" + stable + "?min_ttl=soon", "", 400, "3", "min_ttl: write a duration"},
		{"GET", "/v1/tokens/" + stable + "?min_ttl=-1s", "", 400, "3", "min_ttl: must not be negative"},
		{"GET", "/v1/tokens/" + stable + "?min_ttl=1s&min_ttl=2s", "", 400, "3", "min_ttl"},
		{"GET", "/v1/tokens/" + stable + "?min_tll=1s", "", 400, "3", `unknown parameter "min_tll"`},
		{"GET", "/v1/tokens/" + stable + "?name=" + classic, "", 400, "3", `unknown parameter "name"`},
		{"GET", "/v1/tokens/" + stable + "?%zz", "", 400, "3", "the query is malformed"},
		{"GET", "/v1/tokens/" + stable + ":watch?from=1", "", 400, "3", `unknown parameter "from"`},
		{"POST", "/v1/tokens/" + stable + ":reportInvalid", "", 400, "3", "version or access_token is required"},
		{"POST", "/v1/tokens/" + stable + ":reportInvalid", "{}", 400, "3", "version or access_token is required"},
		{"POST", "/v1/tokens/" + stable + ":reportInvalid", `{"version":0}`, 400, "3", "version: must be positive"},
		{"POST", "/v1/tokens/" + stable + ":reportInvalid", `{"version":1} {"version":1}`, 400, "3", "the body is not the JSON of this call"},
		{"POST", "/v1/tokens/" + stable + ":reportInvalid", `{"version":1,"accessToken":"x"}`, 400, "3", "the body is not the JSON of this call"},
		{"POST", "/v1/tokens/" + stable + ":reportInvalid", `{"accessToken":SECRET}`, 400, "3", "the body is not the JSON of this call"},
		{"POST", "/v1/tokens/" + stable + ":reportInvalid", `{"accessToken":"` + long + `"}`, 413, "8", "the body has more than"},
		{"GET", "/v1/tokens/a/b", "", 404, "5", "no such path"},
		{"GET", "/v1/tokens/a%2Fb", "", 404, "5", "no such path"},
		{"GET", "/v1/tokens/a%2fb:watch", "", 404, "5", "no such path"},
		{"GET", "/v1/tokens/:watch", "", 404, "5", "no such path"},
		{"GET", "//v1/tokens", "", 404, "5", "no such path"},
		{"GET", "/V1/tokens", "", 404, "5", "no such path"},
		{"GET", "/", "", 404, "5", "no such path"},
		{"GET", "/openapi.json/", "", 404, "5", "no such path"},
		{"GET", "/metrics", "", 404, "5", "no such path"},
	} {
		r := s.do(c.method, c.path, c.body)
		m := r.json(t, c.http)
		if message, _ := at(m, "message").(string); fmt.Sprint(at(m, "code")) != c.code || !strings.Contains(message, c.message) {
			t.Errorf("%s %s: got %s", c.method, c.path, r.body)
		}
		if strings.Contains(r.body, "SECRET") {
			t.Errorf("%s %s: the error shows a token: %s", c.method, c.path, r.body)
		}
	}
}

func TestOtherMethodsAreNotAllowed(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	for path, allow := range map[string]string{
		"/v1/tokens":                              "GET, HEAD",
		"/v1/status":                              "GET, HEAD",
		"/v1/tokens/" + stable:                    "GET, HEAD",
		"/v1/tokens/" + stable + ":watch":         "GET",
		"/v1/tokens/" + stable + ":reportInvalid": "POST",
		"/openapi.json":                           "GET, HEAD",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} {
			if strings.Contains(allow, method) {
				continue
			}
			r := s.do(method, path, "", "X-HTTP-Method-Override", "GET", "Content-Type", "application/x-www-form-urlencoded")
			if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != allow {
				t.Errorf("%s %s: %d, Allow is %q", method, path, r.StatusCode, r.Header.Get("Allow"))
			}
			if method != "HEAD" {
				if m := r.json(t, http.StatusMethodNotAllowed); fmt.Sprint(at(m, "code")) != "12" {
					t.Errorf("%s %s: got %s", method, path, r.body)
				}
			}
		}
	}
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	for _, path := range []string{"/v1/tokens", "/v1/status", "/v1/tokens/" + stable, "/openapi.json"} {
		r := s.do(http.MethodHead, path, "")
		if r.StatusCode != http.StatusOK || r.body != "" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("HEAD %s: %d, %s, %q", path, r.StatusCode, r.Header.Get("Content-Type"), r.body)
		}
	}
	if r := s.do(http.MethodHead, "/v1/tokens/"+stable, ""); r.Header.Get("Etag") == "" || r.Header.Get("Token-Ttl") == "" {
		t.Errorf("HEAD tells %v", r.Header)
	}
}

func TestUnavailableTellsWhenToComeBackAndWhatTheUpstreamSaid(t *testing.T) {
	s := newSite(t)
	s.write(stable, func(rec *token.Record) {
		rec.Failures = 3
		rec.LastFailure = token.Failure{Class: token.Address, Code: "40164", Meaning: "the address is not in the whitelist", Remedy: "Add it."}
	})
	r := s.do(http.MethodGet, "/v1/tokens/"+stable, "")
	m := r.json(t, http.StatusServiceUnavailable)
	if at(m, "details", 0, "reason") != "NO_TOKEN_YET" || at(m, "details", 0, "metadata", "upstream_code") != "40164" ||
		at(m, "details", 1, "@type") != "type.googleapis.com/google.rpc.RetryInfo" {
		t.Errorf("got %s", r.body)
	}
	if after := r.Header.Get("Retry-After"); after != "2" { // 1 to 2 s, rounded up
		t.Errorf("Retry-After is %q", after)
	}
	if r.Header.Get("Etag") != "" {
		t.Error("an error has an ETag")
	}
}

func TestCallerSetsTheDeadlineWithinBounds(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	s.leader.will(func(ctx context.Context, _ token.Request) (token.Reply, error) {
		<-ctx.Done()
		return token.Reply{}, ctx.Err()
	})
	begin := time.Now()
	m := s.do(http.MethodPost, "/v1/tokens/"+stable+":reportInvalid", `{"version":1}`, "Grpc-Timeout", "300m").json(t, http.StatusGatewayTimeout)
	if took := time.Since(begin); at(m, "code") != json.Number("4") || took < 200*time.Millisecond {
		t.Errorf("after %v: %v", took, m)
	}
	if m := s.get("/v1/tokens/"+stable, http.StatusBadRequest, "Grpc-Timeout", "soon"); !strings.Contains(fmt.Sprint(at(m, "message")), "invalid grpc-timeout") {
		t.Errorf("got %v", m)
	}
	if m := s.get("/v1/tokens/"+stable, http.StatusOK, "Grpc-Timeout", "99999999H"); at(m, "token", "version") != "1" {
		t.Errorf("got %v", m)
	}
}

// A body that never comes must not hold a handler for ever, and what follows a request that was refused must not be taken for another.
func TestRequestsThatAreNotHTTPAreRefused(t *testing.T) {
	s := newSite(t)
	for _, text := range []string{
		"GET /v1/tokens HTTP/1.1\r\n\r\n", // no Host
		"GET /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked, x\r\n\r\n",
		"GET http://%zz/v1/tokens HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/tokens HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<15) + "\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode < 400 {
			t.Errorf("%.60q: %v, %v", text, resp, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		_ = conn.Close()
	}
}
