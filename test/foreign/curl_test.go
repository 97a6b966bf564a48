//go:build foreign

package foreign_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// page is an answer as curl shows it.
type page struct {
	code   string
	header map[string]string
	body   string
}

// curl makes a request. Only the status, and no other failure, may be an error.
func curl(t *testing.T, args ...string) page {
	t.Helper()
	r := run(t, nil, "curl", append([]string{"--silent", "--show-error", "--include", "--max-time", "60"}, args...)...)
	head, body, ok := strings.Cut(strings.ReplaceAll(r.out, "\r\n", "\n"), "\n\n")
	lines := strings.Split(head, "\n")
	status := strings.Fields(lines[0])
	if r.code != 0 || !ok || len(status) < 2 {
		t.Fatalf("curl ended with %d: %s", r.code, r.err)
	}
	p := page{status[1], map[string]string{}, body}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		p.header[strings.ToLower(name)] = value
	}
	return p
}

func TestCurlOnEveryJSONPath(t *testing.T) {
	s := site.New(t, program)
	held := s.Token(t, site.Stable)
	for _, c := range []struct {
		what string
		args []string
		code string
		has  []string
	}{
		{"a token", []string{"/v1/tokens/shop"}, "200", []string{held.Value, `"version":"1"`, `"state":"TOKEN_STATE_ACTIVE"`}},
		{"a token with a least life", []string{"/v1/tokens/shop?min_ttl=600s"}, "200", []string{held.Value}},
		{"the list", []string{"/v1/tokens"}, "200", []string{`"name":"shop"`, `"name":"shop-classic"`, `"accessToken":""`}},
		{"the status", []string{"/v1/status"}, "200", []string{`"id":"r1"`}},
		{"the OpenAPI document", []string{"/openapi.json"}, "200", []string{"/v1/tokens/{name}"}},
		{"a report that is out of date", []string{"/v1/tokens/shop:reportInvalid", "--json", `{"accessToken":"another"}`}, "200", []string{held.Value}},
		{"no such token", []string{"/v1/tokens/nobody"}, "404", []string{`"code":5`, `"message":`}},
		{"no such path", []string{"/v2/tokens"}, "404", []string{`"code":`}},
		{"a misspelt parameter", []string{"/v1/tokens/shop?minimum=1s"}, "400", []string{`"code":3`}},
		{"a wrong method", []string{"/v1/tokens/shop", "--request", "DELETE"}, "405", []string{`"code":12`}},
		{"a life that cannot be", []string{"/v1/tokens/shop?min_ttl=3h"}, "400", []string{"MIN_TTL_TOO_LONG", "google.rpc.ErrorInfo"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := curl(t, append([]string{s.HTTP + c.args[0]}, c.args[1:]...)...)
			for _, part := range c.has {
				if !strings.Contains(p.body, part) {
					t.Errorf("there is no %s in %s", part, p.body)
				}
			}
			if p.code != c.code || p.header["content-type"] != "application/json" || !json.Valid([]byte(p.body)) {
				t.Errorf("status %s, %s", p.code, p.header["content-type"])
			}
			if p.header["cache-control"] != "no-store" {
				t.Errorf("Cache-Control is %q", p.header["cache-control"])
			}
		})
	}
}

func TestCurlIsToldThatItsTokenIsStillGood(t *testing.T) {
	s := site.New(t, program)
	url := s.HTTP + "/v1/tokens/shop"
	first := curl(t, url)
	tag := first.header["etag"]
	if tag == "" || first.header["token-ttl"] == "" {
		t.Fatalf("the headers are %v", first.header)
	}
	condition := []string{url, "--header", "If-None-Match: " + tag}
	if p := curl(t, condition...); p.code != "304" || p.body != "" || p.header["token-ttl"] == "" || p.header["etag"] != tag {
		t.Errorf("got %s, %v, %s", p.code, p.header, p.body)
	}
	// curl keeps the tag by itself, too.
	file := absolute(t, t.TempDir(), "etag")
	for _, want := range []string{"200", "304"} {
		if p := curl(t, url, "--etag-save", file, "--etag-compare", file); p.code != want {
			t.Errorf("with --etag-compare got %s, want %s", p.code, want)
		}
	}
	dead := s.Kill(t, site.Stable)
	report := fmt.Sprintf(`{"version":"%d"}`, dead.Version)
	if p := curl(t, url+":reportInvalid", "--json", report); p.code != "200" || !strings.Contains(p.body, `"version":"2"`) {
		t.Errorf("the report got %s, %s", p.code, p.body)
	}
	if p := curl(t, condition...); p.code != "200" || strings.Contains(p.body, dead.Value) || p.header["etag"] == tag {
		t.Errorf("for a dead token got %s", p.code)
	}
}

func TestCurlFollowsEventsAcrossARotation(t *testing.T) {
	s := site.New(t, program)
	w := follow(t, "curl", "--silent", "--no-buffer", "--header", "Accept: text/event-stream", s.HTTP+"/v1/tokens/shop:watch")
	w.await(t, "id: 1\nevent: token\ndata: {")
	dead := s.Kill(t, site.Stable)
	if p := curl(t, s.HTTP+"/v1/tokens/shop:reportInvalid", "--json", `{"accessToken":"`+dead.Value+`"}`); p.code != "200" {
		t.Errorf("the report got %s, %s", p.code, p.body)
	}
	w.await(t, "id: 2\nevent: token\ndata: {")
	if next := s.Token(t, site.Stable); !strings.Contains(w.out.String(), next.Value) {
		t.Error("the event does not show the next token")
	}
	if p := curl(t, s.HTTP+"/v1/tokens/nobody:watch"); p.code != "404" {
		t.Errorf("events of no token: %s", p.code)
	}
}
