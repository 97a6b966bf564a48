package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRequestsAreCountedByPathAndNotByWhatWasAsked(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	for _, path := range []string{
		"/v1/tokens/" + stable, "/v1/tokens/" + classic + "?min_ttl=9h", "/v1/tokens/none", "/v1/tokens/a:b", "/v1/tokens", "/v1/status",
		"/openapi.json", "/nowhere", "/v1/tokens/a/b", "/cgi-bin/none", "/cgi-bin/token",
	} {
		s.do(http.MethodGet, path, "")
	}
	s.do(http.MethodPost, "/v1/tokens/"+stable+":reportInvalid", `{"accessToken":"old"}`)
	s.do(http.MethodDelete, "/v1/tokens", "")
	s.ask(http.MethodPost, "/cgi-bin/stable_token", goodBody)
	e := s.watch(stable)
	e.want("token", "1")
	_ = e.body.Close()
	const requests, answers = "tokenbroker_gateway_requests_total", "tokenbroker_gateway_wechat_answers_total"
	for s.sample(requests, "code=200", "path=/v1/tokens/{name}:watch") != 1 { // a stream counts when it has ended
	}
	for _, c := range []struct {
		code, path string
		want       float64
	}{
		{"200", "/v1/tokens/{name}", 1}, {"400", "/v1/tokens/{name}", 2}, {"404", "/v1/tokens/{name}", 1}, {"200", "/v1/tokens", 1},
		{"200", "/v1/status", 1}, {"200", "/openapi.json", 1}, {"404", "other", 2}, {"405", "other", 1},
		{"200", "/v1/tokens/{name}:reportInvalid", 1}, {"200", "/cgi-bin/", 1}, {"200", "/cgi-bin/token", 1}, {"200", "/cgi-bin/stable_token", 1},
	} {
		if got := s.sample(requests, "code="+c.code, "path="+c.path); got != c.want {
			t.Errorf("%s %s: %v, want %v", c.path, c.code, got, c.want)
		}
	}
	for _, c := range []struct{ code, path string }{{"40066", "/cgi-bin/"}, {"40002", "/cgi-bin/token"}, {"0", "/cgi-bin/stable_token"}} {
		if got := s.sample(answers, "errcode="+c.code, "path="+c.path); got != 1 {
			t.Errorf("%s %s: %v", c.path, c.code, got)
		}
	}
}

func TestNothingSecretIsLogged(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	for _, path := range []string{
		"/cgi-bin/token" + goodQuery, "/cgi-bin/token?grant_type=x&secret=" + secret, "/cgi-bin/none?secret=" + secret, "/cgi-bin/token?secret=" + secret + ";x",
		"/v1/tokens/" + stable + "?access_token=" + value(stable, 1), "/nowhere?access_token=" + value(stable, 1),
	} {
		s.do(http.MethodGet, path, "")
	}
	s.ask(http.MethodPost, "/cgi-bin/stable_token", goodBody)
	s.do(http.MethodPost, "/v1/tokens/"+stable+":reportInvalid", `{"accessToken":"`+value(stable, 1)+`x"}`)
	if log := s.log.String(); !strings.Contains(log, "compatible request refused") || strings.Contains(log, secret) || strings.Contains(log, "SECRET") {
		t.Errorf("the log is\n%s", log)
	}
}
