package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

const (
	goodQuery = "?grant_type=client_credential&appid=" + appid + "&secret=" + secret
	goodBody  = `{"grant_type":"client_credential","appid":"` + appid + `","secret":"` + secret + `"}`
	forceBody = `{"grant_type":"client_credential","appid":"` + appid + `","secret":"` + secret + `","force_refresh":true}`
)

// wechat is any of WeChat's answers.
type wechat struct {
	Code    int    `json:"errcode"`
	Message string `json:"errmsg"`
	Token   string `json:"access_token"`
	Expires int64  `json:"expires_in"`
}

// ask makes a request that must be answered as WeChat answers.
func (s *site) ask(method, path, body string) (wechat, string) {
	s.tb.Helper()
	r := s.do(method, path, body)
	var w wechat
	if err := json.Unmarshal([]byte(r.body), &w); err != nil || r.StatusCode != http.StatusOK ||
		r.Header.Get("Content-Type") != "application/json; encoding=utf-8" {
		s.tb.Fatalf("%s %s: %d, %s, %v\n%s", method, path, r.StatusCode, r.Header.Get("Content-Type"), err, r.body)
	}
	return w, r.body
}

func TestCompatiblePathsAnswerByteForByteLikeWeChat(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	s.commit(classic, time.Hour)
	shape := regexp.MustCompile(`^\{"access_token":"([A-Za-z0-9.-]+)","expires_in":([1-9][0-9]*)\}$`)
	for _, c := range []struct {
		method, path, body, want string
		most                     int64
	}{
		{"GET", "/cgi-bin/token" + goodQuery, "", classic, 240},
		{"POST", "/cgi-bin/token" + goodQuery, "", classic, 240},
		{"POST", "/cgi-bin/stable_token", goodBody, stable, 3600},
	} {
		got, body := s.ask(c.method, c.path, c.body)
		if !shape.MatchString(body) || got.Token != value(c.want, 1) || got.Expires > c.most || got.Expires < c.most-30 {
			t.Errorf("%s %s: %s", c.method, c.path, body)
		}
	}
}

func TestCompatiblePathsRefuseWithWeChatsCodes(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	s.commit(classic, time.Hour)
	s.commit(foreign, time.Hour)
	body := func(grant, appid, secret string) string {
		return fmt.Sprintf(`{"grant_type":%q,"appid":%q,"secret":%q}`, grant, appid, secret)
	}
	const ok = "client_credential"
	for _, c := range []struct {
		method, path, body string
		code               int
		message            string
	}{
		{"GET", "/cgi-bin/token", "", 40002, "invalid grant_type"},
		{"GET", "/cgi-bin/token?grant_type=client_credential&secret=" + secret, "", 41002, "appid missing"},
		{"GET", "/cgi-bin/token?grant_type=client_credential&appid=" + appid, "", 41004, "appsecret missing"},
		{"GET", "/cgi-bin/token?grant_type=client_credential&appid=" + appid + "&secret=wrong", "", 40125, "invalid appsecret"},
		{"GET", "/cgi-bin/token?grant_type=client_credential&appid=unknown&secret=" + secret, "", 40013, "invalid appid"},
		{"GET", "/cgi-bin/token?grant_type=client_credential&appid=unknown&secret=wrong", "", 40125, "invalid appsecret"},
		{"PUT", "/cgi-bin/token" + goodQuery, "", 43001, "require GET method"},
		{"POST", "/cgi-bin/token", goodBody, 40002, "invalid grant_type"},
		{"GET", "/cgi-bin/stable_token" + goodQuery, "", 43002, "require POST method"},
		{"POST", "/cgi-bin/stable_token", "", 47001, "data format error"},
		{"POST", "/cgi-bin/stable_token", "{", 47001, "data format error"},
		{"POST", "/cgi-bin/stable_token", strings.Repeat(" ", 1<<20), 47001, "data format error"},
		{"POST", "/cgi-bin/stable_token", body("authorization_code", appid, secret), 40002, "invalid grant_type"},
		{"POST", "/cgi-bin/stable_token", body(ok, "", secret), 41002, "appid missing"},
		{"POST", "/cgi-bin/stable_token", body(ok, appid, ""), 41004, "appsecret missing"},
		{"POST", "/cgi-bin/stable_token", body(ok, appid, secret+"0"), 40125, "invalid appsecret"},
		{"POST", "/cgi-bin/stable_token", body(ok, "wxother", secret), 40013, "invalid appid"}, // not among the client's tokens
		{"POST", "/cgi-bin/stable_token", body(ok, "wxlonely", secret), 40013, "invalid appid"},
		{"GET", "/cgi-bin/get_api_domain_ip", "", 40066, "invalid url"},
		{"GET", "/cgi-bin/token/", "", 40066, "invalid url"},
		{"GET", "/cgi-bin/stable_token/../token", "", 40066, "invalid url"},
	} {
		got, text := s.ask(c.method, c.path, c.body)
		shape := fmt.Sprintf(`^\{"errcode":%d,"errmsg":"%s rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}"\}$`, c.code, c.message)
		if got.Code != c.code || !regexp.MustCompile(shape).MatchString(text) {
			t.Errorf("%s %s %.60s: %s", c.method, c.path, c.body, text)
		}
	}
}

func TestOtherModeIsAnsweredOnlyWhereThatIsConfigured(t *testing.T) {
	strict, loose := newSite(t), newSite(t, anyMode)
	for _, s := range []*site{strict, loose} {
		s.commit(lonely, time.Hour)
		s.commit(stable, time.Hour)
		s.commit(classic, time.Hour)
	}
	asked := strings.Replace(goodBody, appid, "wxlonely", 1)
	if got, text := strict.ask("POST", "/cgi-bin/stable_token", asked); got.Code != 40013 {
		t.Errorf("a stable request got %s", text)
	}
	if got, text := loose.ask("POST", "/cgi-bin/stable_token", asked); got.Token != value(lonely, 1) {
		t.Errorf("with any mode a stable request got %s", text)
	}
	if got, text := loose.ask("POST", "/cgi-bin/stable_token", goodBody); got.Token != value(stable, 1) {
		t.Errorf("with any mode the own mode is not preferred: %s", text)
	}
}

func TestForcedRefreshReportsTheCurrentVersion(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	s.leader.will(func(context.Context, token.Request) (token.Reply, error) {
		s.commit(stable, time.Hour)
		return token.Reply{Verdict: token.VerdictDone}, nil
	})
	if got, text := s.ask("POST", "/cgi-bin/stable_token", forceBody); got.Token != value(stable, 2) {
		t.Errorf("got %s", text)
	}
	asked := s.leader.questions()
	if len(asked) != 1 || asked[0].Kind != token.RequestReport || asked[0].Version != 1 {
		t.Errorf("the leader was asked %+v", asked)
	}
}

func TestForcedRefreshThatIsRefusedAnswersTheCurrentToken(t *testing.T) {
	for name, answer := range map[string]func(context.Context, token.Request) (token.Reply, error){
		"refused": func(context.Context, token.Request) (token.Reply, error) {
			return token.Reply{Verdict: token.VerdictExhausted, RetryAfter: time.Minute}, nil
		},
		"broken": func(context.Context, token.Request) (token.Reply, error) { return token.Reply{}, errors.New("broken") },
		"silent": nil,
	} {
		s := newSite(t)
		s.commit(stable, time.Hour)
		s.leader.will(answer)
		begin := time.Now()
		if got, text := s.ask("POST", "/cgi-bin/stable_token", forceBody); got.Token != value(stable, 1) {
			t.Errorf("%s: got %s after %v", name, text, time.Since(begin))
		}
	}
}
