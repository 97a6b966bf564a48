package wechattest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// answer is any of WeChat's answers.
type answer struct {
	Code      int      `json:"errcode"`
	Message   string   `json:"errmsg"`
	Token     string   `json:"access_token"`
	ExpiresIn int64    `json:"expires_in"`
	IPs       []string `json:"ip_list"`
	Total     int      `json:"total"`
}

// site is a simulation behind a socket.
type site struct {
	*wechattest.WeChat
	url    string
	client *http.Client
}

func serve(t *testing.T, cfg wechattest.Config) (*site, *fakeClock) {
	t.Helper()
	w, clock := newWeChat(t, cfg)
	server := httptest.NewServer(w)
	transport := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(func() {
		w.ClearFaults()
		server.Close()
	})
	return &site{w, server.URL, &http.Client{Transport: transport}}, clock
}

// do makes a request and returns the status and the body, or an error.
func (s *site) do(ctx context.Context, method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// ask makes a request that must be answered with JSON and status 200.
func (s *site) ask(t *testing.T, method, path, body string) answer {
	t.Helper()
	status, text, err := s.do(t.Context(), method, path, body)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s %s: %d, %v", method, path, status, err)
	}
	var a answer
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("%s %s: %q: %v", method, path, text, err)
	}
	return a
}

const (
	classicPath = "/cgi-bin/token?grant_type=client_credential&appid=" + appid + "&secret=" + secret
	stablePath  = "/cgi-bin/stable_token"
	stableBody  = `{"grant_type":"client_credential","appid":"` + appid + `","secret":"` + secret + `"}`
	forcedBody  = `{"grant_type":"client_credential","appid":"` + appid + `","secret":"` + secret + `","force_refresh":true}`
)

func TestBothEndpointsIssueLivingTokens(t *testing.T) {
	s, _ := serve(t, wechattest.Config{})
	c, st := s.ask(t, "GET", classicPath, ""), s.ask(t, "POST", stablePath, stableBody)
	for _, a := range []answer{c, st} {
		if a.Code != 0 || a.ExpiresIn != 7200 || !s.AliveAt(a.Token, s.Report().Now) {
			t.Errorf("got %+v", a)
		}
		if probe := s.ask(t, "GET", "/cgi-bin/get_api_domain_ip?access_token="+a.Token, ""); probe.Code != 0 || len(probe.IPs) == 0 {
			t.Errorf("the probe says %+v", probe)
		}
		if users := s.ask(t, "GET", "/cgi-bin/user/get?access_token="+a.Token, ""); users.Code != 0 || users.Total != 1 {
			t.Errorf("the business call says %+v", users)
		}
	}
	if again := s.ask(t, "POST", stablePath, stableBody); again.Token != st.Token {
		t.Error("the stable endpoint gave another token")
	}
	if forced := s.ask(t, "POST", stablePath, forcedBody); forced.Token == st.Token || s.Check(st.Token) == nil {
		t.Error("force_refresh was ignored")
	}
}

func TestRefusalsHaveWeChatsCodes(t *testing.T) {
	s, _ := serve(t, wechattest.Config{Accounts: []wechattest.Account{
		{AppID: appid, Secret: secret},
		{AppID: "wxfrozen", Secret: secret, Refuse: 40243},
		{AppID: "wxelsewhere", Secret: secret, Whitelist: []string{"10.0.0.0/8"}},
		{AppID: "wxhere", Secret: secret, Whitelist: []string{"127.0.0.1"}},
	}})
	token := func(query string) string { return "/cgi-bin/token?" + query }
	dead := s.ask(t, "GET", classicPath, "").Token
	s.Kill(dead)
	rid := regexp.MustCompile(` rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$`)
	for _, c := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", token(""), "", 40002},
		{"GET", token("grant_type=client_credential"), "", 41002},
		{"GET", token("grant_type=client_credential&appid=" + appid), "", 41004},
		{"GET", token("grant_type=client_credential&appid=wxnobody&secret=x"), "", 40013},
		{"GET", token("grant_type=client_credential&secret=wrong&appid=" + appid), "", 40001},
		{"GET", token("grant_type=client_credential&appid=wxfrozen&secret=" + secret), "", 40243},
		{"GET", token("grant_type=client_credential&appid=wxelsewhere&secret=" + secret), "", 40164},
		{"GET", token("grant_type=client_credential&appid=wxhere&secret=" + secret), "", 0},
		{"POST", classicPath, "", 43001},
		{"GET", stablePath, "", 43002},
		{"POST", stablePath, "{", 47001},
		{"POST", stablePath, "{}", 40002},
		{"POST", stablePath, strings.Replace(stableBody, secret, "wrong", 1), 40125},
		{"POST", stablePath, strings.Replace(stableBody, appid, "wxelsewhere", 1), 40164},
		{"GET", "/cgi-bin/nothing", "", 40066},
		{"GET", "/_sim/judge", "", 40066}, // control was not asked for
		{"GET", "/cgi-bin/user/get", "", 41001},
		{"GET", "/cgi-bin/user/get?access_token=10_never", "", 40014},
		{"GET", "/cgi-bin/get_api_domain_ip?access_token=" + dead, "", 40001},
		{"GET", "/cgi-bin/clear_quota/v2", "", 43002},
		{"POST", "/cgi-bin/clear_quota/v2", `[]`, 47001},
		{"POST", "/cgi-bin/clear_quota/v2", `{"appid":"` + appid + `","appsecret":"wrong"}`, 40125},
		{"POST", "/cgi-bin/clear_quota/v2", `{"appid":"` + appid + `","appsecret":"` + secret + `"}`, 0},
	} {
		a := s.ask(t, c.method, c.path, c.body)
		if a.Code != c.code || (a.Code != 0) != rid.MatchString(a.Message) {
			t.Errorf("%s %s %s: got %+v, want %d", c.method, c.path, c.body, a, c.code)
		}
		if a.Code == 40164 && !strings.HasPrefix(a.Message, "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist") {
			t.Errorf("the message is %q", a.Message)
		}
	}
}

func TestAccountCanBeChanged(t *testing.T) {
	s, _ := serve(t, wechattest.Config{})
	other, frozen, healthy, nowhere := "changed", 40243, 0, []string{"10.0.0.1"}
	for _, step := range []struct {
		change wechattest.Change
		code   int
	}{
		{wechattest.Change{Refuse: &frozen}, 40243},
		{wechattest.Change{Refuse: &healthy}, 0},
		{wechattest.Change{Secret: &other}, 40001},
		{wechattest.Change{Whitelist: &nowhere}, 40164},
	} {
		if err := s.SetAccount(appid, step.change); err != nil {
			t.Fatal(err)
		}
		if a := s.ask(t, "GET", classicPath, ""); a.Code != step.code {
			t.Errorf("got %+v, want %d", a, step.code)
		}
	}
	if err := s.SetAccount("wxnobody", wechattest.Change{}); err == nil {
		t.Error("an account that does not exist was changed")
	}
}

func (s *site) fault(t *testing.T, f wechattest.Fault) {
	t.Helper()
	if err := s.AddFault(f); err != nil {
		t.Fatal(err)
	}
}

func TestFaultsBreakTheAnswerAndIssueOnlyAfterProcessing(t *testing.T) {
	for _, f := range []wechattest.Fault{
		{Kind: wechattest.Hang}, {Kind: wechattest.Drop}, {Kind: wechattest.Truncated},
		{Kind: wechattest.Garbage}, {Kind: wechattest.Garbage, Body: "[]"},
		{Kind: wechattest.Status, Status: 502}, {Kind: wechattest.Errcode, Code: -1},
	} {
		for when, issued := range map[wechattest.When]int{"": 0, wechattest.Before: 0, wechattest.After: 1} {
			f.When, f.Endpoint, f.Times, f.Delay = when, wechattest.Classic, 1, time.Millisecond
			s, _ := serve(t, wechattest.Config{})
			s.fault(t, f)
			status, text, err := s.do(t.Context(), "GET", classicPath, "")
			switch f.Kind {
			case wechattest.Hang, wechattest.Drop, wechattest.Truncated:
				if err == nil {
					t.Errorf("%+v: answered %d %s", f, status, text)
				}
			case wechattest.Status:
				if status != 502 {
					t.Errorf("%+v: answered %d", f, status)
				}
			case wechattest.Errcode:
				if !strings.Contains(text, `"errcode":-1`) {
					t.Errorf("%+v: answered %s", f, text)
				}
			default:
				if json.Valid([]byte(text)) != (f.Body == "[]") {
					t.Errorf("%+v: answered %q", f, text)
				}
			}
			if n := len(s.History()); n != issued {
				t.Errorf("%+v: %d tokens were issued, want %d", f, n, issued)
			}
			if a := s.ask(t, "GET", classicPath, ""); a.Token == "" {
				t.Errorf("%+v: the next request got %+v", f, a)
			}
		}
	}
}

func TestFaultsStrikeOnlyWhatTheyAreFor(t *testing.T) {
	s, _ := serve(t, wechattest.Config{})
	s.fault(t, wechattest.Fault{Endpoint: wechattest.Stable, Kind: wechattest.Errcode, Code: 1})
	s.fault(t, wechattest.Fault{Client: "10.0.0.0/8", Kind: wechattest.Errcode, Code: 2})
	s.fault(t, wechattest.Fault{Client: "127.0.0.1", Kind: wechattest.Errcode, Code: 40164, Times: 2})
	for _, want := range []int{40164, 40164, 0} {
		if a := s.ask(t, "GET", classicPath, ""); a.Code != want {
			t.Errorf("got %+v, want %d", a, want)
		}
	}
	for range 3 {
		if a := s.ask(t, "POST", stablePath, stableBody); a.Code != 1 {
			t.Errorf("got %+v, want 1", a)
		}
	}
	if n := len(s.Faults()); n != 2 {
		t.Errorf("%d faults stand, want 2", n)
	}
	s.ClearFaults()
	if a := s.ask(t, "POST", stablePath, stableBody); a.Code != 0 {
		t.Errorf("got %+v after ClearFaults", a)
	}
}

func TestLateRequestIsProcessedThoughItsClientHasGone(t *testing.T) {
	s, _ := serve(t, wechattest.Config{})
	s.fault(t, wechattest.Fault{Kind: wechattest.Slow, Times: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var client sync.WaitGroup
	client.Go(func() {
		if _, _, err := s.do(ctx, "GET", classicPath, ""); err == nil {
			t.Error("a request that is held was answered")
		}
	})
	if err := s.Await(t.Context(), func() bool { return s.Requests(wechattest.Classic) == 1 }); err != nil {
		t.Fatal(err)
	}
	cancel()
	client.Wait()
	if len(s.History()) != 0 {
		t.Error("the request was processed before its time")
	}
	s.ClearFaults()
	if err := s.Await(t.Context(), func() bool { return len(s.History()) == 1 }); err != nil {
		t.Fatal(err)
	}
}

func TestSlowAnswerHidesAnIssuedToken(t *testing.T) {
	s, _ := serve(t, wechattest.Config{})
	s.fault(t, wechattest.Fault{Kind: wechattest.Slow, When: wechattest.After})
	var client sync.WaitGroup
	client.Go(func() {
		if a := s.ask(t, "GET", classicPath, ""); a.Token == "" {
			t.Errorf("got %+v", a)
		}
	})
	if err := s.Await(t.Context(), func() bool { return len(s.History()) == 1 }); err != nil {
		t.Fatal(err)
	}
	s.ClearFaults()
	client.Wait()
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	w, _ := newWeChat(t, wechattest.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Await(ctx, func() bool { return false }); err == nil {
		t.Error("no error")
	}
}

func TestSenselessFaultsAreRefused(t *testing.T) {
	w, _ := newWeChat(t, wechattest.Config{})
	for _, f := range []wechattest.Fault{
		{}, {Kind: "odd"}, {Kind: wechattest.Errcode}, {Kind: wechattest.Status}, {Kind: wechattest.Drop, When: "later"},
		{Kind: wechattest.Drop, Endpoint: "odd"}, {Kind: wechattest.Drop, Client: "home"}, {Kind: wechattest.Drop, Times: -1},
		{Kind: wechattest.Slow, Delay: -1},
	} {
		if err := w.AddFault(f); err == nil {
			t.Errorf("%+v: no error", f)
		}
	}
}

func TestControlEndpoints(t *testing.T) {
	s, clock := serve(t, wechattest.Config{Control: true})
	control := func(method, path, body string, want int) string {
		t.Helper()
		status, text, err := s.do(t.Context(), method, path, body)
		if err != nil || status != want {
			t.Fatalf("%s %s %s: %d %s, %v; want %d", method, path, body, status, text, err, want)
		}
		return text
	}
	control("POST", "/_sim/fault", `{"endpoint":"token","kind":"slow","when":"after","times":1,"delay":"1ms"}`, 204)
	if text := control("GET", "/_sim/fault", "", 200); !strings.Contains(text, `"delay":"1ms"`) {
		t.Errorf("the faults are %s", text)
	}
	first := s.ask(t, "GET", classicPath, "").Token
	control("POST", "/_sim/fault", `{"kind":"errcode","code":45009}`, 204)
	control("DELETE", "/_sim/fault", "", 204)
	second := s.ask(t, "GET", classicPath, "").Token
	control("POST", "/_sim/foreign", `{"appid":"`+appid+`","endpoint":"token"}`, 200)
	control("POST", "/_sim/kill", `{"token":"`+second+`"}`, 204)
	control("POST", "/_sim/account", `{"appid":"`+appid+`","refuse":50007}`, 204)
	if a := s.ask(t, "GET", classicPath, ""); a.Code != 50007 {
		t.Errorf("got %+v, want 50007", a)
	}

	verdict := func(query url.Values) (v wechattest.Verdict) {
		t.Helper()
		if err := json.Unmarshal([]byte(control("GET", "/_sim/judge?"+query.Encode(), "", 200)), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	start := clock.read()
	clock.advance(time.Minute)
	if v := verdict(url.Values{"token": {first}}); !v.Known || v.Alive || !v.DiesAt.Equal(start) {
		t.Errorf("the first token: %+v", v)
	}
	if v := verdict(url.Values{"token": {second}, "at": {start.Add(-1).Format(time.RFC3339Nano)}}); !v.Known || v.Alive {
		t.Errorf("the second token before its time: %+v", v)
	}
	if v := verdict(url.Values{"token": {"10_never"}}); v.Known || v.Alive {
		t.Errorf("no token: %+v", v)
	}
	var report wechattest.Report
	if err := json.Unmarshal([]byte(control("GET", "/_sim/judge", "", 200)), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Issued) != 3 || !report.Issued[2].Foreign || len(report.Counts) == 0 || !report.Now.Equal(clock.read()) {
		t.Errorf("the report is %+v", report)
	}

	for _, bad := range [][3]string{
		{"POST", "/_sim/fault", `{"kind":"odd"}`},
		{"POST", "/_sim/fault", `{"kind":"slow","delay":"soon"}`},
		{"POST", "/_sim/fault", `{"kind":"slow","typo":1}`},
		{"POST", "/_sim/foreign", `{"appid":"` + appid + `","endpoint":"user_get"}`},
		{"POST", "/_sim/foreign", `{"appid":"wxnobody","endpoint":"token"}`},
		{"POST", "/_sim/kill", `{"token":"10_never"}`},
		{"POST", "/_sim/account", `{"appid":"wxnobody"}`},
		{"GET", "/_sim/judge?token=x&at=noon", ""},
	} {
		control(bad[0], bad[1], bad[2], 400)
	}
}
