package gateway_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
)

// A page whose site's name leads to this host (DNS rebinding) reads what it is answered, but cannot hide that name.
func TestOnLoopbackNoNameCountsButLocalhost(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	for host, taken := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:7710": true, "[::1]": true, "[::1]:7710": true, "192.0.2.1:80": true, "localhost": true, "LocalHost:7710": true,
		"evil.example": false, "evil.example:7710": false, "localhost.evil.example": false, "127.0.0.1.evil.example:80": false, "1.evil:80": false,
		"evil": false, "localhost.": false, "2130706433": false,
	} {
		for _, path := range []string{"/v1/tokens", "/v1/tokens/" + stable, "/openapi.json"} {
			resp := s.do(http.MethodGet, path, "", "Host", host)
			if taken && resp.StatusCode != http.StatusOK || !taken && at(resp.json(t, http.StatusForbidden), "code") != json.Number("7") {
				t.Errorf("%s of %s: %d %s", path, host, resp.StatusCode, resp.body)
			}
		}
		var answer wechat
		resp := s.do(http.MethodPost, "/cgi-bin/stable_token", goodBody, "Host", host)
		if err := json.Unmarshal([]byte(resp.body), &answer); err != nil || resp.StatusCode != http.StatusOK || (answer.Token != "") != taken || (answer.Code == 40066) == taken {
			t.Errorf("%s: %d %s", host, resp.StatusCode, resp.body)
		}
	}
}

// PowerWeChat calls the address that it is given, and names the host of the other calls.
func TestOnWeChatsPathsWeChatsHostCounts(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	for host, taken := range map[string]bool{
		"api.weixin.qq.com": true, "API.weixin.qq.com:7710": true, "weixin.qq.com": false, "evil.api.weixin.qq.com": false, "api.weixin.qq.com.evil.example": false,
	} {
		var answer wechat
		resp := s.do(http.MethodPost, "/cgi-bin/stable_token", goodBody, "Host", host)
		if err := json.Unmarshal([]byte(resp.body), &answer); err != nil || (answer.Token != "") != taken || (answer.Code == 40066) == taken {
			t.Errorf("%s: %d %s", host, resp.StatusCode, resp.body)
		}
		if resp := s.do(http.MethodGet, "/v1/tokens", "", "Host", host); resp.StatusCode != http.StatusForbidden {
			t.Errorf("the list of %s: %d", host, resp.StatusCode)
		}
	}
}

// elsewhere is a listener that says of itself that it is not on loopback.
type elsewhere struct{ net.Listener }

func (elsewhere) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7710} }

func TestWhereNoBrowserOfTheHostIsMeantAnyNameWillDo(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{unix, elsewhere{tcp}} {
		to := l.Addr()
		if _, ok := l.(elsewhere); ok {
			to = tcp.Addr()
		}
		g, err := gateway.New(gateway.Config{Conn: &fakeConn{}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = g.Run(ctx, l) })
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, to.Network(), to.String())
		}}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://broker.example/v1/tokens", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("on %v: %s", l.Addr(), resp.Status)
		}
		stop()
		running.Wait()
	}
}

func TestAPageOfAnotherOriginOrdersNothing(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	for _, c := range []struct {
		what  string
		from  []string
		taken bool
	}{
		{"a program", nil, true},
		{"a page of this origin", []string{"Sec-Fetch-Site", "same-origin", "Origin", s.url}, true},
		{"a person at an address bar", []string{"Sec-Fetch-Site", "none"}, true},
		{"a page of another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, false},
		{"a page of another port", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"}, false},
		{"a page in an old browser", []string{"Origin", "https://evil.example"}, false},
		{"a page without an origin", []string{"Origin", "null"}, false},
	} {
		// Forms send text/plain without asking first. A value that is not the present one changes nothing.
		resp := s.do(http.MethodPost, "/v1/tokens/"+stable+":reportInvalid", `{"accessToken":"x"}`, append(c.from, "Content-Type", "text/plain")...)
		if want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[c.taken]; resp.StatusCode != want {
			t.Errorf("%s: %d, want %d: %s", c.what, resp.StatusCode, want, resp.body)
		}
		resp = s.do(http.MethodPost, "/cgi-bin/stable_token", goodBody, c.from...)
		if strings.Contains(resp.body, "SECRET") != c.taken || strings.Contains(resp.body, "40066") == c.taken {
			t.Errorf("%s: %s", c.what, resp.body)
		}
	}
}
