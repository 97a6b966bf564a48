package wechat_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat"
)

func TestBelievableAnswersAreTaken(t *testing.T) {
	long := strings.Repeat("x", token.MaxValueSize)
	for body, want := range map[string]time.Duration{
		`{"access_token":"10_a","expires_in":7200}`:                                   2 * time.Hour,
		`{"access_token":"10_a","expires_in":1}`:                                      time.Second,
		` {"expires_in" : 345 , "access_token" : "10_a" } ` + "\n":                    345 * time.Second,
		`{"errcode":0,"errmsg":"ok","access_token":"10_a","expires_in":60}`:           time.Minute,
		`{"access_token":"10_a","expires_in":60,"more":{"access_token":[null,1.5]}}`:  time.Minute,
		`{"access_token":"` + long + `","expires_in":60}`:                             time.Minute,
		`{"access_token":"eyJ\u002fa+b=.~!","expires_in":60}`:                         time.Minute,
		`{"access_token":"10_a","expires_in":7201}`:                                   2 * time.Hour, // never longer than documented
		`{"access_token":"10_a","expires_in":9223372036854775807}`:                    2 * time.Hour,
		`{"Access_Token":1,"access_token":"10_a","EXPIRES_IN":1e9,"expires_in":7200}`: 2 * time.Hour,
	} {
		grant, err := answering(t, wechat.Config{}, 200, body).Fetch(t.Context(), token.FetchRequest{})
		if err != nil || grant.Life != want || grant.Value.IsZero() {
			t.Errorf("%.80s: life %v, %v; want %v", body, grant.Life, err, want)
		}
	}
}

func TestUnbelievableAnswersLeaveTheOutcomeUnknown(t *testing.T) {
	for _, body := range []string{
		``, ` `, `null`, `[]`, `"10_a"`, `7`, `<html>`, "\xef\xbb\xbf{}", `{`, `{}`, `{"access_token":"10_a"`, `{"access_token":"10_a",}`,
		`{"access_token":"10_a","expires_in":7200}{}`, `{"access_token":"10_a","expires_in":7200} x`,
		`{"access_token":"10_a"}`, `{"expires_in":7200}`, `{"ACCESS_TOKEN":"10_a","expires_in":7200}`,
		`{"access_token":"","expires_in":7200}`, `{"access_token":null,"expires_in":7200}`, `{"access_token":7,"expires_in":7200}`,
		`{"access_token":["10_a"],"expires_in":7200}`, `{"access_token":"10 a","expires_in":7200}`,
		`{"access_token":"10_a\n","expires_in":7200}`, `{"access_token":"10_a\u0000","expires_in":7200}`,
		`{"access_token":"10_ä","expires_in":7200}`, "{\"access_token\":\"10_\xff\",\"expires_in\":7200}",
		`{"access_token":"` + strings.Repeat("x", token.MaxValueSize+1) + `","expires_in":7200}`,
		`{"access_token":"10_a","expires_in":0}`, `{"access_token":"10_a","expires_in":-7200}`, `{"access_token":"10_a","expires_in":"7200"}`,
		`{"access_token":"10_a","expires_in":7200.5}`, `{"access_token":"10_a","expires_in":7.2e3}`, `{"access_token":"10_a","expires_in":null}`,
		`{"access_token":"10_a","expires_in":9223372036854775808}`, `{"access_token":"10_a","expires_in":[7200]}`,
		`{"access_token":"10_a","expires_in":60,"expires_in":7200}`, `{"access_token":"10_a","access_token":"10_b","expires_in":60}`,
		`{"errcode":40013,"errcode":0,"access_token":"10_a","expires_in":60}`, `{"errcode":40013,"access_token":"10_a","expires_in":60}`,
		`{"errcode":"40013"}`, `{"errcode":40013.0}`, `{"errcode":null}`, `{"errcode":99999999999999999999}`, `{"errcode":40013,"errmsg":7}`,
		`{"errcode":0,"errmsg":"ok"}`, strings.Repeat(`{"a":`, 10000), strings.Repeat(`[`, 60000),
	} {
		f := fail(t, t.Context(), answering(t, wechat.Config{}, 200, body))
		if f.Outcome != token.OutcomeUnknown || f.Class != token.Bug || f.Code != "malformed" || !f.Written {
			t.Errorf("%.80s: %+v", body, f)
		}
		if f.Message == "" || strings.Contains(f.Message, "10_") {
			t.Errorf("%.80s: the message is %q", body, f.Message)
		}
	}
}

func TestOtherStatusesAreNotRead(t *testing.T) {
	good := `{"access_token":"10_a","expires_in":7200}`
	for _, status := range []int{201, 204, 301, 403, 404, 500, 502, 503} {
		body := good
		if status == 204 {
			body = ""
		}
		f := fail(t, t.Context(), answering(t, wechat.Config{}, status, body))
		if f.Outcome != token.OutcomeUnknown || f.Code != fmt.Sprintf("http_%d", status) || !f.Written {
			t.Errorf("%d: %+v", status, f)
		}
	}
}

func TestEndlessAnswerIsCutOff(t *testing.T) {
	f := fail(t, t.Context(), answering(t, wechat.Config{}, 200, `{"access_token":"10_a","expires_in":60}`+strings.Repeat(" ", 1<<20)))
	if f.Outcome != token.OutcomeUnknown || f.Code != "too_large" {
		t.Errorf("%+v", f)
	}
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"10_a","expires_in":7200}`, `{"errcode":0,"errmsg":"ok","access_token":"10_a","expires_in":60}`,
		`{"errcode":40013,"errmsg":"invalid appid rid: 5fa26c60-1a0ebdd5-32fd1cd0"}`, `{"errcode":-1,"errmsg":"system error"}`,
		`{"errcode":40164,"errmsg":"invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist"}`,
		`{"errcode":40125,"errmsg":"` + secret + `"}`, `{"access_token":"","expires_in":-1}`, `{"ip_list":["192.0.2.1"]}`,
		`{"a":{"b":[1,2,{"c":null}]},"access_token":"\u0041","expires_in":1}`, `{"expires_in":1e99}`, "{\"errmsg\":\"\xff\x00\"}", ``, `[]`, `{`,
		`{"errcode":61004,"errmsg":"fe80::1%eth0 rid: ` + strings.Repeat("0-", 99) + `"}`,
	} {
		f.Add([]byte(seed))
	}
	const maxLife = 2 * time.Hour
	client, err := wechat.New(wechat.Config{AppID: appid, Secret: token.NewSecret(secret)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		grant, failure := wechat.Read(client, body)
		if failure == nil {
			value := grant.Value.Reveal()
			if value == "" || len(value) > token.MaxValueSize || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("the token is %q", value)
			}
			if grant.Life <= 0 || grant.Life > maxLife {
				t.Errorf("the life is %v", grant.Life)
			}
			return
		}
		if !grant.Value.IsZero() || grant.Life != 0 {
			t.Error("there is a token beside the failure")
		}
		if failure.Outcome != token.OutcomeNone && failure.Outcome != token.OutcomeUnknown || !failure.Written || failure.Code == "" || failure.Meaning == "" {
			t.Errorf("%+v", failure)
		}
		text := failure.Error() + failure.Remedy
		if len(failure.Message) > token.MaxMessageSize || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\x00\x1b") {
			t.Errorf("the message is %q", failure.Message)
		}
		if strings.Contains(text, secret) {
			t.Error("the failure quotes the secret")
		}
	})
}
