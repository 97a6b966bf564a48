package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/internal/view"
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

func TestExpiresInIsNeverZeroBecauseTheNextTokenIsWaitedFor(t *testing.T) {
	s := newSite(t)
	s.clients.Set([]gateway.Client{{Name: "till", SecretSHA256: sha256.Sum256([]byte(secret)), Tokens: []string{"*"}}})
	s.commit(brief, time.Minute) // promised for 3.2 s after each proof
	for m := s.get("/v1/tokens/"+brief, http.StatusOK); at(m, "token", "state") != "TOKEN_STATE_SUSPECT"; {
		m = s.get("/v1/tokens/"+brief, http.StatusOK)
	}
	answered := make(chan response, 1)
	go func() {
		r, err := s.try(http.MethodGet, "/cgi-bin/token"+strings.Replace(goodQuery, appid, "wxbrief", 1), "")
		if err != nil {
			t.Error(err)
		}
		answered <- r
	}()
	select {
	case r := <-answered:
		t.Fatalf("got %s although nothing is promised", r.body)
	case <-time.After(1500 * time.Millisecond): // longer than a caller waits who would take a suspect token
	}
	s.commit(brief, time.Minute)
	s.prove()
	if r := <-answered; !strings.HasPrefix(r.body, `{"access_token":"`+value(brief, 2)+`","expires_in":`) {
		t.Errorf("got %s", r.body)
	}
	s.commit(hasty, 24*time.Second) // never has a second to live
	if got, text := s.ask("GET", "/cgi-bin/token"+strings.Replace(goodQuery, appid, "wxhasty", 1), ""); got.Code != -1 {
		t.Errorf("got %s", text)
	}
}

func TestUpstreamsRefusalIsPassedOnWhereItMeansTheSameToTheCaller(t *testing.T) {
	for upstream, want := range map[string]wechat{
		"40164":    {Code: 40164, Message: "invalid ip, not in whitelist"},
		"45009":    {Code: 45009, Message: "reach max api daily quota limit"},
		"89503":    {Code: 89503, Message: "this ip is waiting for confirmation by the administrator"},
		"40125":    {Code: -1, Message: "system error: "}, // the AppSecret is the broker's
		"40001":    {Code: -1, Message: "system error: "},
		"timeout":  {Code: -1, Message: "system error: "},
		"http_502": {Code: -1, Message: "system error: "},
		"-1":       {Code: -1, Message: "system error: "},
	} {
		t.Run(upstream, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.write(stable, func(rec *token.Record) {
				rec.Failures, rec.LastFailure = 1, token.Failure{Class: token.Human, Code: upstream, Meaning: "told", Remedy: "none"}
			})
			got, text := s.ask("POST", "/cgi-bin/stable_token", goodBody)
			if got.Code != want.Code || !strings.HasPrefix(got.Message, want.Message) {
				t.Errorf("got %s", text)
			}
		})
	}
}

// The list by which a token is found is kept for a second. When names change hands, nobody gets another account's token by the old list.
func TestNameThatStandsForAnotherAccountIsNotAnswered(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	s.commit(foreign, time.Hour)
	if got, _ := s.ask("POST", "/cgi-bin/stable_token", goodBody); got.Token != value(stable, 1) {
		t.Fatalf("got %+v", got)
	}
	swapped := specs()
	swapped[0].Traits, swapped[2].Traits = stableTraits("wxother"), stableTraits(appid)
	if err := s.view.Configure(swapped); err != nil {
		t.Fatal(err)
	}
	s.load()
	if got, text := s.ask("POST", "/cgi-bin/stable_token", goodBody); got.Code != 40013 { // "other", which the client may not have
		t.Errorf("got %s", text)
	}
	if err := s.view.Configure(specs()[1:]); err != nil {
		t.Fatal(err)
	}
	if got, text := s.ask("POST", "/cgi-bin/stable_token", goodBody); got.Code != 40013 {
		t.Errorf("of a token that was removed: %s", text)
	}
}

func TestAccountThatMovedToAnotherNameIsFoundAtOnce(t *testing.T) {
	const moved = "shop.moved"
	for what, traits := range map[string]token.Traits{"stands for another account": stableTraits("wxother"), "is gone": {}} {
		s := newSite(t)
		s.commit(stable, time.Hour)
		if got, _ := s.ask("POST", "/cgi-bin/stable_token", goodBody); got.Token != value(stable, 1) {
			t.Fatalf("got %+v", got)
		}
		configured := specs()[1:]
		configured = append(configured, view.Spec{Name: moved, Traits: stableTraits(appid)})
		if traits.Kind != "" {
			configured = append(configured, view.Spec{Name: stable, Traits: traits})
		}
		if err := s.view.Configure(configured); err != nil {
			t.Fatal(err)
		}
		s.load()
		s.commit(moved, time.Hour)
		if got, text := s.ask("POST", "/cgi-bin/stable_token", goodBody); got.Token != value(moved, 1) {
			t.Errorf("when the old name %s: %s", what, text)
		}
	}
}

func TestClientMayHaveWhatItsPatternsName(t *testing.T) {
	c := gateway.Client{Tokens: []string{"shop", "till-*", "*.test"}}
	for name, want := range map[string]bool{
		"shop": true, "shop2": false, "till-": true, "till-1.x": true, "till": false, "a.test": true, ".test": true, "a.tests": false, "": false,
	} {
		if c.May(name) != want {
			t.Errorf("May(%q) is %v", name, !want)
		}
	}
	if (&gateway.Client{}).May("shop") {
		t.Error("a client without patterns may have a token")
	}
}

// certificates admits by something else of a request than its secret, as a client certificate would.
type certificates struct{ admitted gateway.Client }

func (c certificates) Admit(r *http.Request, _ string) (*gateway.Client, bool) {
	return &c.admitted, r.Header.Get("X-Certificate") == "till"
}

func TestAdmissionMayNeedNoSecret(t *testing.T) {
	s := newSite(t, func(g *gateway.Config, _ *server.Config) {
		g.Admission = certificates{gateway.Client{Name: "till", Tokens: []string{"*"}}}
	})
	s.commit(stable, time.Hour)
	body := `{"grant_type":"client_credential","appid":"` + appid + `"}`
	if r := s.do("POST", "/cgi-bin/stable_token", body, "X-Certificate", "till"); !strings.Contains(r.body, value(stable, 1)) {
		t.Errorf("got %s", r.body)
	}
	if got, text := s.ask("POST", "/cgi-bin/stable_token", body); got.Code != 41004 {
		t.Errorf("without a certificate: %s", text)
	}
}

// The simulated WeChat and the gateway are asked the same, and their answers must have the same fields in the same order, under the same
// header. (Their texts are compared with WeChat's above and in wechattest.)
func TestAnswersHaveTheShapeOfTheSimulatedWeChats(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	s.commit(classic, time.Hour)
	sim, err := wechattest.New(wechattest.Config{Accounts: []wechattest.Account{{AppID: appid, Secret: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	simulated := httptest.NewServer(sim)
	defer simulated.Close()
	values := regexp.MustCompile(`"access_token":"[^"]+"|:-?[0-9]+|rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}`)
	code := regexp.MustCompile(`^\{"errcode":(-?[0-9]+)`)
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/cgi-bin/token" + goodQuery, ""},
		{"POST", "/cgi-bin/stable_token", goodBody},
		{"GET", "/cgi-bin/token", ""},
		{"GET", "/cgi-bin/token?grant_type=client_credential", ""},
		{"GET", "/cgi-bin/token?grant_type=client_credential&appid=" + appid, ""},
		{"GET", "/cgi-bin/token?grant_type=client_credential&appid=none&secret=" + secret, ""},
		{"PUT", "/cgi-bin/token" + goodQuery, ""},
		{"GET", "/cgi-bin/stable_token", ""},
		{"POST", "/cgi-bin/stable_token", "nonsense"},
		{"POST", "/cgi-bin/stable_token", strings.Replace(goodBody, secret, "wrong", 1)},
		{"POST", "/cgi-bin/stable_token", strings.Replace(goodBody, "client_credential", "other", 1)},
		{"POST", "/cgi-bin/stable_token", strings.Replace(goodBody, appid, "", 1)},
		{"GET", "/cgi-bin/nothing", ""},
	} {
		ours := s.do(c.method, c.path, c.body)
		theirs := (&site{tb: t, url: simulated.URL, http: s.http}).do(c.method, c.path, c.body)
		if ours.Header.Get("Content-Type") != theirs.Header.Get("Content-Type") || ours.StatusCode != theirs.StatusCode {
			t.Errorf("%s %s: %d %s, and WeChat %d %s", c.method, c.path, ours.StatusCode, ours.Header, theirs.StatusCode, theirs.Header)
		}
		if a, b := values.ReplaceAllString(ours.body, "#"), values.ReplaceAllString(theirs.body, "#"); a != b {
			t.Errorf("%s %s: %s, and WeChat %s", c.method, c.path, a, b)
		}
		if a, b := code.FindStringSubmatch(ours.body), code.FindStringSubmatch(theirs.body); !slices.Equal(a, b) {
			t.Errorf("%s %s: code %s, and WeChat's %s", c.method, c.path, a, b)
		}
	}
}
