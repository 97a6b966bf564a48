package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestTokenIsAnsweredWithItsValueAndLife(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	r := s.do(http.MethodGet, "/v1/tokens/"+stable, "")
	m := r.json(t, http.StatusOK)
	if at(m, "token", "accessToken") != value(stable, 1) || at(m, "token", "version") != "1" || at(m, "token", "state") != "TOKEN_STATE_ACTIVE" ||
		at(m, "token", "upstream") != "wechat stable" || at(m, "token", "appId") != appid || at(m, "token", "local") != false {
		t.Errorf("got %s", r.body)
	}
	left, err := strconv.Atoi(r.Header.Get("Token-Ttl"))
	if err != nil || left < 3500 || left > 3600 {
		t.Errorf("Token-Ttl is %q", r.Header.Get("Token-Ttl"))
	}
	after, err := strconv.Atoi(r.Header.Get("Token-Refresh-After"))
	if err != nil || after < left/2-1 || after > left*3/4+1 {
		t.Errorf("Token-Refresh-After is %q of %d", r.Header.Get("Token-Refresh-After"), left)
	}
}

func TestListTellsEverythingButValues(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	r := s.do(http.MethodGet, "/v1/tokens", "")
	m := r.json(t, http.StatusOK)
	if at(m, "tokens", 5, "name") != stable || at(m, "tokens", 5, "version") != "1" || at(m, "tokens", 5, "accessToken") != "" ||
		at(m, "tokens", 4, "appId") != appid || at(m, "tokens", 4, "upstream") != "wechat classic" {
		t.Errorf("got %s", r.body)
	}
	if strings.Contains(r.body, "SECRET") {
		t.Errorf("the list shows a token: %s", r.body)
	}
}

func TestStatusIsThatOfTheReplica(t *testing.T) {
	s := newSite(t)
	m := s.get("/v1/status", http.StatusOK)
	if at(m, "replica", "id") != "a" || at(m, "replica", "version") != "v1" || at(m, "tokens", 5, "name") != stable {
		t.Errorf("got %v", m)
	}
}

func TestReportBringsTheNewerToken(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	s.leader.will(func(context.Context, token.Request) (token.Reply, error) {
		s.commit(stable, time.Hour)
		return token.Reply{Verdict: token.VerdictDone}, nil
	})
	for _, body := range []string{`{"version":"1"}`, `{"version":1}`, `{"accessToken":"` + value(stable, 1) + `"}`, `{"access_token":"anything"}`} {
		m := s.do(http.MethodPost, "/v1/tokens/"+stable+":reportInvalid", body).json(t, http.StatusOK)
		if at(m, "token", "version") != "2" || at(m, "token", "accessToken") != value(stable, 2) {
			t.Errorf("%s: got %v", body, m)
		}
	}
	if n := len(s.leader.questions()); n != 1 {
		t.Errorf("the leader was asked %d times", n)
	}
}

func TestMinTTLIsKept(t *testing.T) {
	s := newSite(t)
	s.commit(stable, 10*time.Minute)
	for _, query := range []string{"min_ttl=300s", "minTtl=300s", "min_ttl=5m", "min_ttl=300.5s", "min_ttl=0s"} {
		if m := s.get("/v1/tokens/"+stable+"?"+query, http.StatusOK); at(m, "token", "version") != "1" {
			t.Errorf("%s: got %v", query, m)
		}
	}
	m := s.get("/v1/tokens/"+stable+"?min_ttl=30m", http.StatusGatewayTimeout, "Grpc-Timeout", "100m")
	if at(m, "code") != json.Number("4") {
		t.Errorf("got %v", m)
	}
	if m := s.get("/v1/tokens/"+stable+"?min_ttl=3h", http.StatusBadRequest); at(m, "details", 0, "reason") != "MIN_TTL_TOO_LONG" {
		t.Errorf("got %v", m)
	}
}
