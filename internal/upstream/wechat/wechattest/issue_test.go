package wechattest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

func classic(t *testing.T, w *wechattest.WeChat) wechattest.Grant {
	t.Helper()
	grant, err := w.IssueClassic(appid)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

func stable(t *testing.T, w *wechattest.WeChat, force bool) wechattest.Grant {
	t.Helper()
	grant, err := w.IssueStable(appid, force)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// code returns the errcode of an error; 0 for none.
func code(err error) int {
	if refusal, ok := errors.AsType[*wechattest.Error](err); ok {
		return refusal.Code
	}
	return 0
}

func wantCodes(t *testing.T, w *wechattest.WeChat, want map[string]int) {
	t.Helper()
	for value, errcode := range want {
		if got := code(w.Check(value)); got != errcode {
			t.Errorf("Check(%.8s...) = %d, want %d", value, got, errcode)
		}
		if alive := w.AliveAt(value, w.Report().Now); alive != (errcode == 0) {
			t.Errorf("AliveAt(%.8s..., now) = %v, but Check says %d", value, alive, errcode)
		}
	}
}

func TestClassicPredecessorLivesTheOverlapAndNoLonger(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	first := classic(t, w).Token
	clock.advance(time.Hour)
	second := classic(t, w)
	if second.ExpiresIn != 7200 || second.Token == first {
		t.Errorf("the second fetch gave expires_in %d, same %v", second.ExpiresIn, second.Token == first)
	}
	clock.advance(5*time.Minute - 1)
	wantCodes(t, w, map[string]int{first: 0, second.Token: 0})
	clock.advance(1)
	wantCodes(t, w, map[string]int{first: 40001, second.Token: 0})
	clock.advance(7200*time.Second - 5*time.Minute)
	wantCodes(t, w, map[string]int{first: 40001, second.Token: 42001, "": 41001, "10_never": 40014})
}

func TestThirdClassicFetchKillsTheFirstTokenAtOnce(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	first := classic(t, w).Token
	clock.advance(time.Minute)
	second := classic(t, w).Token
	clock.advance(time.Minute)
	third := classic(t, w).Token
	wantCodes(t, w, map[string]int{first: 40001, second: 0, third: 0})
}

func TestClassicPredecessorNeverOutlivesItsStatedEnd(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	first := classic(t, w).Token
	clock.advance(2*time.Hour - time.Minute)
	classic(t, w)
	clock.advance(time.Minute)
	wantCodes(t, w, map[string]int{first: 42001})
}

func TestStableRepeatsItsTokenWithTheTrueRemainder(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	first := stable(t, w, false)
	clock.advance(time.Hour + 500*time.Millisecond)
	again := stable(t, w, false)
	if again.Token != first.Token || again.ExpiresIn != 3599 {
		t.Errorf("got the same token: %v, expires_in %d; want true, 3599", again.Token == first.Token, again.ExpiresIn)
	}
}

func TestStableGivesANewTokenInTheLastFiveMinutes(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	first := stable(t, w, false).Token
	clock.advance(2*time.Hour - 5*time.Minute - 1)
	if stable(t, w, false).Token != first {
		t.Error("a call just before the window gave a new token")
	}
	clock.advance(3*time.Minute + 1)
	second := stable(t, w, false)
	if second.Token == first || second.ExpiresIn != 7200 {
		t.Errorf("a call in the window gave the same token: %v, expires_in %d", second.Token == first, second.ExpiresIn)
	}
	if stable(t, w, false).Token != second.Token {
		t.Error("the next call gave yet another token")
	}
	clock.advance(5*time.Minute - 1)
	wantCodes(t, w, map[string]int{first: 0, second.Token: 0})
	clock.advance(1)
	wantCodes(t, w, map[string]int{first: 42001, second.Token: 0})
}

func TestStableStartsAnewAfterTheEnd(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	first := stable(t, w, false).Token
	clock.advance(3 * time.Hour)
	second := stable(t, w, false).Token
	wantCodes(t, w, map[string]int{first: 42001, second: 0})
}

func TestForcedRefreshKillsTheTokenAtOnce(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	first := stable(t, w, false).Token
	clock.advance(time.Minute)
	second := stable(t, w, true).Token
	wantCodes(t, w, map[string]int{first: 40001, second: 0})
}

func TestForcedRefreshIsSilentlyOrdinaryWhenTooSoonOrTooOften(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	last := stable(t, w, true).Token
	clock.advance(30*time.Second - 1)
	if again := stable(t, w, true); again.Token != last {
		t.Error("a forced refresh was done within 30 s of the last")
	}
	clock.advance(1)
	for i := 2; i <= 20; i++ {
		fresh := stable(t, w, true).Token
		if fresh == last {
			t.Fatalf("forced refresh %d was not done", i)
		}
		last = fresh
		clock.advance(30 * time.Second)
	}
	if stable(t, w, true).Token != last {
		t.Error("the 21st forced refresh of the day was done")
	}
	clock.advance(12 * time.Hour) // over Shanghai's midnight
	stable(t, w, false)
	if before := stable(t, w, false).Token; stable(t, w, true).Token == before {
		t.Error("the first forced refresh of the next day was not done")
	}
}

func TestEndpointsKnowNothingOfEachOthersTokens(t *testing.T) {
	w, _ := newWeChat(t, wechattest.Config{})
	s := stable(t, w, false).Token
	c := classic(t, w).Token
	classic(t, w)
	classic(t, w)
	wantCodes(t, w, map[string]int{s: 0, c: 40001})
	c = classic(t, w).Token
	stable(t, w, true)
	wantCodes(t, w, map[string]int{s: 40001, c: 0})
}

func TestDailyQuotaEndsAtShanghaisMidnight(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{Quotas: wechattest.Quotas{ClassicPerDay: 2, StablePerDay: 1, StablePerMin: -1}})
	classic(t, w)
	classic(t, w)
	stable(t, w, false)
	clock.advance(12*time.Hour - 1)
	if _, err := w.IssueClassic(appid); code(err) != 45009 {
		t.Errorf("classic: got %v, want 45009", err)
	}
	if _, err := w.IssueStable(appid, false); code(err) != 45009 {
		t.Errorf("stable: got %v, want 45009", err)
	}
	clock.advance(1)
	classic(t, w)
	stable(t, w, false)
}

func TestMinuteQuotaEndsWithTheMinute(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{Quotas: wechattest.Quotas{ClassicPerMin: 1, StablePerMin: 1}})
	classic(t, w)
	stable(t, w, false)
	clock.advance(59 * time.Second)
	_, cerr := w.IssueClassic(appid)
	_, serr := w.IssueStable(appid, false)
	if code(cerr) != 45011 || code(serr) != 45011 {
		t.Errorf("got %v and %v, want 45011", cerr, serr)
	}
	clock.advance(time.Second)
	classic(t, w)
	stable(t, w, false)
}

func TestClearedQuotaIsWholeAgainTenTimesAMonth(t *testing.T) {
	w, _ := newWeChat(t, wechattest.Config{Quotas: wechattest.Quotas{ClassicPerDay: 1}})
	for range 10 {
		classic(t, w)
		if err := w.ClearQuota(appid); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.ClearQuota(appid); code(err) != 48006 {
		t.Errorf("the eleventh time: %v, want 48006", err)
	}
	if err := w.ClearQuota("wxnobody"); code(err) != 40013 {
		t.Errorf("unknown account: %v, want 40013", err)
	}
}

func TestForeignFetchRotates(t *testing.T) {
	w, _ := newWeChat(t, wechattest.Config{})
	c, s := classic(t, w).Token, stable(t, w, false).Token
	if _, err := w.ForeignFetch(appid, wechattest.Classic); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ForeignFetch(appid, wechattest.Classic); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ForeignFetch(appid, wechattest.Stable); err != nil {
		t.Fatal(err)
	}
	wantCodes(t, w, map[string]int{c: 40001, s: 40001})
	foreign := 0
	for _, issued := range w.History() {
		if issued.Foreign {
			foreign++
		}
	}
	if foreign != 3 {
		t.Errorf("the record has %d foreign fetches, want 3", foreign)
	}
}

func TestKilledTokenIsNotHandedOutAgain(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	s := stable(t, w, false).Token
	clock.advance(time.Minute)
	if !w.Kill(s) || w.Kill(s) || w.Kill("10_never") {
		t.Error("Kill does not say whether the token was alive")
	}
	wantCodes(t, w, map[string]int{s: 40001})
	if stable(t, w, false).Token == s {
		t.Error("the dead token was handed out again")
	}
	c := classic(t, w).Token
	w.Kill(c)
	clock.advance(time.Minute)
	classic(t, w)
	wantCodes(t, w, map[string]int{c: 40001})
}

func TestJudgeRemembersWhenTokensLived(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{})
	start := clock.read()
	first := classic(t, w).Token
	clock.advance(time.Hour)
	classic(t, w)
	clock.advance(24 * time.Hour)
	end := start.Add(time.Hour + 5*time.Minute)
	if dies, ok := w.DiesAt(first); !ok || !dies.Equal(end) {
		t.Errorf("DiesAt = %v, %v; want %v", dies, ok, end)
	}
	for at, want := range map[time.Time]bool{start.Add(-1): false, start: true, end.Add(-1): true, end: false} {
		if got := w.AliveAt(first, at); got != want {
			t.Errorf("AliveAt(%v) = %v, want %v", at, got, want)
		}
	}
	if _, ok := w.DiesAt("10_never"); ok || w.AliveAt("10_never", start) {
		t.Error("the judge knows a token that never was")
	}
	want := []wechattest.Issued{
		{AppID: appid, Endpoint: wechattest.Classic, From: start, Ends: start.Add(2 * time.Hour), Until: end},
		{
			AppID: appid, Endpoint: wechattest.Classic, From: start.Add(time.Hour), Ends: start.Add(3 * time.Hour),
			Until: start.Add(3 * time.Hour),
		},
	}
	history := w.History()
	for i := range history {
		history[i].Token = ""
	}
	if diff := cmp.Diff(want, history); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestCountsAreKeptByDayAndOutcome(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{Quotas: wechattest.Quotas{ClassicPerDay: 1}})
	classic(t, w)
	_, _ = w.IssueClassic(appid)
	stable(t, w, false)
	stable(t, w, false)
	clock.advance(12 * time.Hour)
	classic(t, w)
	want := []wechattest.Count{
		{"2026-11-22", appid, wechattest.Stable, "issued", 1},
		{"2026-11-22", appid, wechattest.Stable, "same", 1},
		{"2026-11-22", appid, wechattest.Classic, "45009", 1},
		{"2026-11-22", appid, wechattest.Classic, "issued", 1},
		{"2026-11-23", appid, wechattest.Classic, "issued", 1},
	}
	if diff := cmp.Diff(want, w.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestTokensLookLikeWeChatsAndComeOfTheSeed(t *testing.T) {
	tokens := func(seed uint64) (tokens []string) {
		w, _ := newWeChat(t, wechattest.Config{Seed: seed})
		for range 50 {
			tokens = append(tokens, classic(t, w).Token)
		}
		return tokens
	}
	shortest, longest := 1<<10, 0
	for _, token := range tokens(1) {
		shortest, longest = min(shortest, len(token)), max(longest, len(token))
		if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || token[2] != '_' {
			t.Errorf("odd token %q", token)
		}
	}
	if shortest < 136 || longest > 512 || shortest == longest {
		t.Errorf("tokens have %d to %d bytes", shortest, longest)
	}
	if !cmp.Equal(tokens(1), tokens(1)) || cmp.Equal(tokens(1), tokens(2)) {
		t.Error("the tokens do not come of the seed")
	}
}

func TestShortLivesNeverStateZero(t *testing.T) {
	w, clock := newWeChat(t, wechattest.Config{TokenLife: 3 * time.Second, Overlap: 100 * time.Millisecond})
	for range 100 {
		if grant := stable(t, w, false); grant.ExpiresIn < 1 {
			t.Fatalf("expires_in %d", grant.ExpiresIn)
		}
		clock.advance(70 * time.Millisecond)
	}
	if len(w.History()) < 3 {
		t.Error("no rotation in 7 s")
	}
}

func TestSenselessConfigurationsAreRefused(t *testing.T) {
	account := []wechattest.Account{{AppID: appid, Secret: secret}}
	for name, cfg := range map[string]wechattest.Config{
		"half seconds":   {Accounts: account, TokenLife: 1500 * time.Millisecond},
		"long overlap":   {Accounts: account, TokenLife: time.Minute, Overlap: time.Minute},
		"short tokens":   {Accounts: account, MinTokenSize: 1, MaxTokenSize: 2},
		"no secret":      {Accounts: []wechattest.Account{{AppID: appid}}},
		"account twice":  {Accounts: append(account, account...)},
		"bad whitelist":  {Accounts: []wechattest.Account{{AppID: appid, Secret: secret, Whitelist: []string{"home"}}}},
		"negative life":  {Accounts: account, TokenLife: -time.Second},
		"inverted sizes": {Accounts: account, MinTokenSize: 100, MaxTokenSize: 50},
	} {
		if _, err := wechattest.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
