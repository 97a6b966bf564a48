package wechat_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat"
)

func TestTraitsAreWeChats(t *testing.T) {
	for mode, want := range map[wechat.Mode]token.Traits{
		wechat.Stable: {
			Kind: "wechat stable", AppID: appid, Source: "wechat stable " + appid + " " + wechat.DefaultBaseURL, Overlap: 5 * time.Minute, MaxLife: 2 * time.Hour, Ahead: 4*time.Minute + 30*time.Second,
			Force: true, ForcedPerDay: 20, ForcedSpacing: 30 * time.Second, FetchesPerDay: 2000,
		},
		wechat.Classic: {
			Kind: "wechat classic", AppID: appid, Source: "wechat classic " + appid + " " + wechat.DefaultBaseURL, Rotating: true, Overlap: 5 * time.Minute, MaxLife: 2 * time.Hour, Ahead: 30 * time.Minute,
			FetchesPerDay: 2000,
		},
	} {
		got := newClient(t, wechat.DefaultBaseURL, wechat.Config{Mode: mode}).Traits()
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(token.Traits{}, "Calendar")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", mode, diff)
		}
		if got.Calendar == nil || got.Calendar.String() != "Asia/Shanghai" {
			t.Errorf("%s: the calendar is %v", mode, got.Calendar)
		}
	}
}

// The protocol's constants are for an overlap of 300 s: W = 240 s, D = 60 s. A rotation begins 2W + D before the end at the latest.
func TestClassicBeginsEarlyEnoughAtEveryScale(t *testing.T) {
	for _, scale := range []time.Duration{1, 10, 120, 720} {
		for _, part := range []time.Duration{4, 5, 10, 24, 100} {
			life := 2 * time.Hour / scale
			cfg := wechat.Config{Mode: wechat.Classic, MaxLife: life, Overlap: life / part}
			traits := newClient(t, wechat.DefaultBaseURL, cfg).Traits()
			if least := 2*(traits.Overlap*4/5) + traits.Overlap/5; traits.Ahead < least || traits.Ahead > life/2 {
				t.Errorf("life %v, overlap %v: ahead %v, want %v to %v", life, traits.Overlap, traits.Ahead, least, life/2)
			}
		}
	}
}

func TestSenselessConfigurationsAreRefusedWithoutQuotingSecrets(t *testing.T) {
	good := func() wechat.Config { return wechat.Config{AppID: appid, Secret: token.NewSecret(secret)} }
	for name, spoil := range map[string]func(*wechat.Config){
		"mode":            func(c *wechat.Config) { c.Mode = "rotating" },
		"no appid":        func(c *wechat.Config) { c.AppID = "" },
		"appid":           func(c *wechat.Config) { c.AppID = "wx 1" },
		"long appid":      func(c *wechat.Config) { c.AppID = strings.Repeat("x", 129) },
		"no secret":       func(c *wechat.Config) { c.Secret = token.Secret{} },
		"secret's end":    func(c *wechat.Config) { c.Secret = token.NewSecret(secret + "\n") },
		"long secret":     func(c *wechat.Config) { c.Secret = token.NewSecret(strings.Repeat(secret, 9)) },
		"scheme":          func(c *wechat.Config) { c.BaseURL = "ftp://host" },
		"no host":         func(c *wechat.Config) { c.BaseURL = "https://:443" },
		"relative":        func(c *wechat.Config) { c.BaseURL = "api.weixin.qq.com" },
		"user":            func(c *wechat.Config) { c.BaseURL = "https://user:" + secret + "@host" },
		"unparsable":      func(c *wechat.Config) { c.BaseURL = "https://user:" + secret + "@[::host" },
		"query":           func(c *wechat.Config) { c.BaseURL = "https://host/?a=" + secret },
		"bare query":      func(c *wechat.Config) { c.BaseURL = "https://host/?" },
		"fragment":        func(c *wechat.Config) { c.BaseURL = "https://host/#a" },
		"life":            func(c *wechat.Config) { c.MaxLife = time.Millisecond },
		"overlap":         func(c *wechat.Config) { c.Overlap = time.Hour },
		"negative":        func(c *wechat.Config) { c.Overlap = -1 },
		"quota":           func(c *wechat.Config) { c.FetchesPerDay = -1 },
		"time-out":        func(c *wechat.Config) { c.HTTP = upstream.Config{Timeout: -1} },
		"everything bad":  func(c *wechat.Config) { *c = wechat.Config{BaseURL: "x", Mode: "x", MaxLife: -1} },
		"forced spacing":  func(c *wechat.Config) { c.ForcedSpacing = -1 },
		"forced each day": func(c *wechat.Config) { c.ForcedPerDay = -1 },
	} {
		cfg := good()
		spoil(&cfg)
		_, err := wechat.New(cfg)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: the error quotes the secret: %v", name, err)
		}
	}
	if _, err := wechat.New(good()); err != nil {
		t.Errorf("the good configuration: %v", err)
	}
}
