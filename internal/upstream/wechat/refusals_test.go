package wechat_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// rid is a request id as WeChat writes it at the end of a message.
const rid = "rid: 5fa26c60-1a0ebdd5-32fd1cd0"

// noon in Shanghai: twelve hours and the margin are left of the day.
var noon = time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)

func at(now time.Time) func() time.Time { return func() time.Time { return now } }

func TestEachErrcodeHasItsClassOutcomeAndRemedy(t *testing.T) {
	const none, unknown = token.OutcomeNone, token.OutcomeUnknown
	for _, c := range []struct {
		code    int
		outcome token.Outcome
		class   token.Class
		wait    time.Duration
		remedy  string // a part of it; empty for none at all
	}{
		{-1, unknown, token.Transient, 0, ""},
		{40001, none, token.Human, 0, "secret"},
		{40002, none, token.Bug, 0, "report"},
		{40013, none, token.Human, 0, "appid"},
		{40125, none, token.Human, 0, "secret"},
		{40164, none, token.Address, 0, "Add 203.0.113.7 to"},
		{40243, none, token.Human, 0, "Unfreeze"},
		{41002, none, token.Bug, 0, "report"},
		{41004, none, token.Bug, 0, "report"},
		{43002, none, token.Bug, 0, "report"},
		{45009, none, token.DailyQuota, 12*time.Hour + time.Minute, "clear_quota"},
		{45011, none, token.MinuteQuota, time.Minute, "who else"},
		{50004, none, token.Human, 0, "support"},
		{50007, none, token.Human, 0, "unfrozen"},
		{61004, none, token.Address, 0, "Add 203.0.113.7 to"},
		{61024, none, token.Human, 0, "platform"},
		{89501, none, token.Address, time.Minute, "confirm calls from 203.0.113.7"},
		{89503, none, token.Address, time.Minute, "confirm calls from 203.0.113.7"},
		{89506, none, token.Blocked, 24 * time.Hour, "refused calls from 203.0.113.7"},
		{89507, none, token.Blocked, time.Hour, "refused calls from 203.0.113.7"},
		// Codes of business calls, and codes that nobody knows, say nothing certain about a fetch.
		{40014, unknown, token.Transient, 0, "Look the code up"},
		{41001, unknown, token.Transient, 0, "Look the code up"},
		{42001, unknown, token.Transient, 0, "Look the code up"},
		{48001, unknown, token.Transient, 0, "Look the code up"},
		{50002, unknown, token.Transient, 0, "Look the code up"},
		{1, unknown, token.Transient, 0, "Look the code up"},
		{-2, unknown, token.Transient, 0, "Look the code up"},
		{87009, unknown, token.Transient, 0, "Look the code up"},
	} {
		for mode := range modes {
			body := fmt.Sprintf(`{"errcode":%d,"errmsg":"message with 203.0.113.7 %s"}`, c.code, rid)
			f := fail(t, t.Context(), answering(t, wechat.Config{Mode: mode, Now: at(noon)}, 200, body))
			if f.Outcome != c.outcome || f.Class != c.class || f.RetryAfter != c.wait || f.Code != fmt.Sprint(c.code) || !f.Written {
				t.Errorf("%s %d: got %+v; want %+v", mode, c.code, f, c)
			}
			if !strings.Contains(f.Remedy, c.remedy) || (c.remedy == "") != (f.Remedy == "") || strings.Contains(f.Remedy, "{") {
				t.Errorf("%s %d: the remedy is %q, want one with %q", mode, c.code, f.Remedy, c.remedy)
			}
			if f.Meaning == "" || f.Message != "message with 203.0.113.7 "+rid {
				t.Errorf("%s %d: meaning %q, message %q", mode, c.code, f.Meaning, f.Message)
			}
		}
	}
}

func TestRefusalsOfTheSimulatedWeChatAreUnderstood(t *testing.T) {
	for mode, endpoint := range modes {
		client, sim := simulate(t, wechat.Config{Mode: mode}, wechattest.Config{Quotas: wechattest.Quotas{ClassicPerDay: 1, StablePerDay: 1}})
		fetch(t, client, false)
		if f := fail(t, t.Context(), client); f.Class != token.DailyQuota || f.RetryAfter <= 0 {
			t.Errorf("%s: %+v", mode, f)
		}
		wrong := "wrong"
		if err := sim.SetAccount(appid, wechattest.Change{Secret: &wrong}); err != nil {
			t.Fatal(err)
		}
		if f := fail(t, t.Context(), client); f.Class != token.Human || !strings.Contains(f.Message, "rid: ") {
			t.Errorf("%s: %+v", mode, f)
		}
		if err := sim.AddFault(wechattest.Fault{Endpoint: endpoint, Kind: wechattest.Errcode, Code: 40164, Client: "127.0.0.1"}); err != nil {
			t.Fatal(err)
		}
		if f := fail(t, t.Context(), client); f.Class != token.Address || !strings.HasPrefix(f.Remedy, "Add 127.0.0.1 to") {
			t.Errorf("%s: %+v", mode, f)
		}
	}
}

func TestRemedyNamesTheAddressThatWeChatSaw(t *testing.T) {
	for message, want := range map[string]string{
		"invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist " + rid: "Add 203.0.113.7 to",
		"invalid ip 203.0.113.7, not in whitelist hint: [jotvMa01143580]":         "Add 203.0.113.7 to",
		"ip:203.0.113.7 is not allowed":                                           "Add 203.0.113.7 to",
		"invalid ip 2001:db8::7, not in whitelist":                                "Add 2001:db8::7 to",
		"invalid ip fe80::1%odd not in whitelist":                                 "Add fe80::1 to",
		"access clientip is not registered, not in ip-white-list":                 "Add the address of the replica that met this to",
		"invalid ip 999.1.1.1":                                                    "Add the address of the replica that met this to",
		"":                                                                        "Add the address of the replica that met this to",
	} {
		f := fail(t, t.Context(), answering(t, wechat.Config{}, 200, fmt.Sprintf(`{"errcode":40164,"errmsg":%q}`, message)))
		if !strings.HasPrefix(f.Remedy, want) {
			t.Errorf("%q: the remedy is %q", message, f.Remedy)
		}
	}
}

func TestRequestIDSurvivesALongMessage(t *testing.T) {
	for _, long := range []string{strings.Repeat("x", 600), strings.Repeat("系统", 300)} {
		f := fail(t, t.Context(), answering(t, wechat.Config{}, 200, fmt.Sprintf(`{"errcode":-1,"errmsg":"%s %s"}`, long, rid)))
		if len(f.Message) > token.MaxMessageSize || !strings.HasSuffix(f.Message, "... "+rid) {
			t.Errorf("%d bytes: %s", len(f.Message), f.Message)
		}
	}
}

func TestDailyQuotaComesBackAfterShanghaisMidnight(t *testing.T) {
	midnight := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC) // 2026-11-23 in Shanghai
	for now, want := range map[time.Time]time.Duration{
		midnight.Add(-time.Second):      time.Minute + time.Second,
		midnight.Add(-24 * time.Hour):   11 * time.Minute, // just after the midnight before: perhaps WeChat's has not struck yet
		midnight.Add(time.Second):       11*time.Minute - time.Second,
		midnight.Add(10 * time.Minute):  24*time.Hour - 9*time.Minute,
		midnight.Add(-10 * time.Minute): 11 * time.Minute,
	} {
		f := fail(t, t.Context(), answering(t, wechat.Config{Now: at(now)}, 200, `{"errcode":45009,"errmsg":"x"}`))
		if f.RetryAfter != want {
			t.Errorf("at %v: %v, want %v", now, f.RetryAfter, want)
		}
	}
}
