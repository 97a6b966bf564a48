//go:build foreign

package foreign_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

func TestCurlOnWeChatsOwnPaths(t *testing.T) {
	s := site.New(t, program)
	query := func(appid, secret string) string {
		return fmt.Sprintf("/cgi-bin/token?grant_type=client_credential&appid=%s&secret=%s", appid, secret)
	}
	body := func(appid, secret string) []string {
		return []string{"/cgi-bin/stable_token", "--json", fmt.Sprintf(`{"grant_type":"client_credential","appid":%q,"secret":%q}`, appid, secret)}
	}
	for _, c := range []struct {
		what  string
		args  []string
		token string
		code  int
	}{
		{"classic", []string{query(site.AppID, s.Secret)}, site.Classic, 0},
		{"stable", body(site.AppID, s.Secret), site.Stable, 0},
		{"a wrong secret", []string{query(site.AppID, "wrong")}, "", 40125},
		{"a wrong secret for stable", body(site.AppID, "wrong"), "", 40125},
		{"an account that the client may not use", body(site.ForeignAppID, s.Secret), "", 40013},
		{"no secret", []string{query(site.AppID, "")}, "", 41004},
		{"another grant", []string{"/cgi-bin/token?grant_type=password"}, "", 40002},
		{"GET of stable_token", []string{"/cgi-bin/stable_token"}, "", 43002},
		{"no JSON", []string{"/cgi-bin/stable_token", "--data", "a=b"}, "", 47001},
		{"the probe, which is WeChat's own", []string{"/cgi-bin/get_api_domain_ip?access_token=a"}, "", 40066},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := curl(t, append([]string{s.HTTP + c.args[0]}, c.args[1:]...)...)
			var got struct {
				Code    int    `json:"errcode"`
				Message string `json:"errmsg"`
				Token   string `json:"access_token"`
				Expires int    `json:"expires_in"`
			}
			if err := json.Unmarshal([]byte(p.body), &got); err != nil || p.code != "200" || !strings.HasPrefix(p.header["content-type"], "application/json") {
				t.Fatalf("status %s, %v, %v", p.code, p.header, err)
			}
			if got.Code != c.code || p.header["cache-control"] != "no-store" {
				t.Errorf("errcode %d, want %d: %s", got.Code, c.code, got.Message)
			}
			if c.code != 0 && !regexp.MustCompile(` rid: [0-9a-f-]{26}$`).MatchString(got.Message) {
				t.Errorf("the message is %q", got.Message)
			}
			if c.code == 0 && (got.Token != s.Token(t, c.token).Value || got.Expires < 1 || got.Expires > 7200) {
				t.Errorf("got another token than that of %s, or a life of %d s", c.token, got.Expires)
			}
		})
	}
}
