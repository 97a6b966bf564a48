package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestValueThatTheCallerHoldsIsNotSentAgainWhileItIsActive(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	tag := s.do(http.MethodGet, "/v1/tokens/"+stable, "").Header.Get("Etag")
	if !strings.HasPrefix(tag, `"1-`) {
		t.Fatalf("ETag is %q", tag)
	}
	for _, held := range []string{tag, "W/" + tag, `"7-0", ` + tag} {
		r := s.do(http.MethodGet, "/v1/tokens/"+stable, "", "If-None-Match", held)
		if r.StatusCode != http.StatusNotModified || r.body != "" || r.Header.Get("Etag") != tag || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("If-None-Match: %s is answered %d, %v", held, r.StatusCode, r.Header)
		}
		if left := r.Header.Get("Token-Ttl"); len(left) != 4 || left[0] != '3' {
			t.Errorf("304 tells a life of %q", left)
		}
	}
	for _, held := range []string{`"2"`, "*", "1", `"1"`, strings.Trim(tag, `"`), `""`} {
		if r := s.do(http.MethodGet, "/v1/tokens/"+stable, "", "If-None-Match", held); r.StatusCode != http.StatusOK || r.body == "" {
			t.Errorf("If-None-Match: %s is answered %d", held, r.StatusCode)
		}
	}
	s.commit(stable, time.Hour)
	r := s.do(http.MethodGet, "/v1/tokens/"+stable, "", "If-None-Match", tag)
	next := r.Header.Get("Etag")
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(next, `"2-`) {
		t.Errorf("the next version is answered %d, %v", r.StatusCode, r.Header)
	}
	if r := s.do(http.MethodGet, "/v1/tokens/"+stable, "", "If-None-Match", next, "If-None-Match", tag); r.StatusCode != http.StatusNotModified {
		t.Errorf("two lists are answered %d", r.StatusCode)
	}
}

func TestAnotherValueUnderTheSameVersionIsSent(t *testing.T) {
	s, restored := newSite(t), newSite(t)
	s.commit(stable, time.Hour)
	restored.write(stable, func(rec *token.Record) {
		rec.Version, rec.Value, rec.IssuedAt, rec.Life = 1, token.NewSecret("SECRET-restored"), restored.clock.Wall(), time.Hour
	})
	tag := s.do(http.MethodGet, "/v1/tokens/"+stable, "").Header.Get("Etag")
	if m := restored.get("/v1/tokens/"+stable, http.StatusOK, "If-None-Match", tag); at(m, "token", "version") != "1" {
		t.Errorf("got %v", m)
	}
}

func TestNeitherDeathNorDoubtHidesBehindAnETag(t *testing.T) {
	s := newSite(t)
	s.commit(hasty, 24*time.Second)
	s.commit(stable, time.Hour)
	tag := s.do(http.MethodGet, "/v1/tokens/"+hasty, "").Header.Get("Etag")
	dead := s.do(http.MethodGet, "/v1/tokens/"+stable, "").Header.Get("Etag")
	for { // until nothing is promised any more
		r := s.do(http.MethodGet, "/v1/tokens/"+hasty, "", "If-None-Match", tag)
		if r.StatusCode == http.StatusNotModified {
			if r.Header.Get("Token-Ttl") != "0" {
				t.Fatalf("304 tells a life of %q s", r.Header.Get("Token-Ttl"))
			}
			continue
		}
		if m := r.json(t, http.StatusOK); at(m, "token", "state") != "TOKEN_STATE_SUSPECT" || r.Header.Get("Etag") != "" || r.Header.Get("Token-Ttl") != "0" {
			t.Errorf("a suspect token: %v, %s", r.Header, r.body)
		}
		break
	}
	s.write(stable, func(rec *token.Record) { rec.Condemned = true })
	if m := s.get("/v1/tokens/"+stable, http.StatusServiceUnavailable, "If-None-Match", dead); at(m, "details", 0, "reason") != "CONDEMNED" {
		t.Errorf("a dead token: %v", m)
	}
}

func TestOnlyOneTokenHasAnETag(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	for _, path := range []string{"/v1/tokens", "/v1/status"} {
		if r := s.do(http.MethodGet, path, "", "If-None-Match", `"1"`); r.StatusCode != http.StatusOK || r.Header.Get("Etag") != "" {
			t.Errorf("%s: %d, %v", path, r.StatusCode, r.Header)
		}
	}
	r := s.do(http.MethodPost, "/v1/tokens/"+stable+":reportInvalid", `{"accessToken":"old"}`, "If-None-Match", `"1"`)
	if r.StatusCode != http.StatusOK || r.Header.Get("Etag") != "" || r.Header.Get("Token-Ttl") == "" {
		t.Errorf("a report: %d, %v", r.StatusCode, r.Header)
	}
}
