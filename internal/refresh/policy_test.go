package refresh_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

var (
	rotating   = token.Traits{Rotating: true, Overlap: 5 * time.Minute, MaxLife: 2 * time.Hour, Ahead: 30 * time.Minute, FetchesPerDay: 2000, Calendar: shanghai}
	idempotent = token.Traits{Overlap: 5 * time.Minute, MaxLife: 2 * time.Hour, Ahead: 285 * time.Second, FetchesPerDay: 2000, Calendar: shanghai}
	wechat     = token.TimingFor(5 * time.Minute)
)

// daily is a Calendar that fires at one time of day.
type daily struct{ hour, minute int }

func (d daily) Next(t time.Time) time.Time {
	next := time.Date(t.Year(), t.Month(), t.Day(), d.hour, d.minute, 0, 0, t.Location())
	if !next.After(t) {
		next = next.AddDate(0, 0, 1)
	}
	return next
}

type neverAgain struct{}

func (neverAgain) Next(time.Time) time.Time { return time.Time{} }

func TestTheEarliestRuleWinsButNeverLaterThanSafetyWants(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, shanghai)
	healthy := token.Record{
		Version: 3, Value: token.NewSecret("v"), Life: 2 * time.Hour, IssuedAt: noon, RefreshedAt: noon,
		Resolved: token.Resolution{Attempt: "a", Outcome: token.OutcomeToken},
	}
	with := func(change func(*token.Record)) token.Record {
		rec := healthy
		change(&rec)
		return rec
	}
	every := func(d time.Duration) refresh.Rule { return refresh.Rule{Every: d, Text: "every " + d.String()} }
	for _, c := range []struct {
		name  string
		rules []refresh.Rule
		rec   token.Record
		at    time.Time
		left  time.Duration
		from  time.Duration // the earliest allowed answer
		to    time.Duration // the latest
		why   string
	}{
		{"no rule: ahead of expiry, spread by a tenth", nil, healthy, noon, 2 * time.Hour, 87 * time.Minute, 90 * time.Minute, "ahead of expiry"},
		{"an interval that comes first", []refresh.Rule{every(time.Hour)}, healthy, noon.Add(10 * time.Minute), 110 * time.Minute, 50 * time.Minute, 50 * time.Minute, "every 1h0m0s"},
		{"an interval longer than the life is never waited for", []refresh.Rule{every(9 * time.Hour)}, healthy, noon, 2 * time.Hour, 87 * time.Minute, 90 * time.Minute, "ahead of expiry"},
		{"a time of day that comes first", []refresh.Rule{{Calendar: daily{12, 30}, Text: "cron"}}, healthy, noon, 2 * time.Hour, 30 * time.Minute, 30 * time.Minute, "cron"},
		{"both: the earliest wins", []refresh.Rule{every(time.Hour), {Calendar: daily{12, 30}, Text: "cron"}}, healthy, noon, 2 * time.Hour, 30 * time.Minute, 30 * time.Minute, "cron"},
		{"a window that passed while nobody led is made up for", []refresh.Rule{{Calendar: daily{12, 30}, Text: "cron"}}, healthy, noon.Add(time.Hour), time.Hour, 0, 0, "cron"},
		{"a calendar that never fires again does nothing", []refresh.Rule{{Calendar: neverAgain{}, Text: "cron"}}, healthy, noon, 2 * time.Hour, 87 * time.Minute, 90 * time.Minute, "ahead of expiry"},
		{"no token: now", nil, token.Record{}, noon, 0, 0, 0, "no token"},
		{"a pending attempt: now", nil, with(func(r *token.Record) { r.Pending = &token.Intent{Attempt: "b"} }), noon, 2 * time.Hour, 0, 0, "unsettled fetch"},
		{"in doubt: now", nil, with(func(r *token.Record) { r.Doubt = true }), noon, 2 * time.Hour, 0, 0, "unsettled fetch"},
		{"condemned: now", nil, with(func(r *token.Record) { r.Condemned = true }), noon, 2 * time.Hour, 0, 0, "known to be dead"},
		{"past the end: now", nil, healthy, noon.Add(3 * time.Hour), -time.Hour, 0, 0, "ahead of expiry"},
		{"a short life is refreshed after a quarter of it", nil, with(func(r *token.Record) { r.Life = 10 * time.Minute }), noon, 10 * time.Minute, 150 * time.Second, 150 * time.Second, "ahead of expiry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			policy, err := refresh.Policy{Rules: c.rules}.Complete(rotating, wechat)
			if err != nil {
				t.Fatal(err)
			}
			in, why := policy.Due(c.rec, rotating, c.at, c.left)
			if in < c.from || in > c.to || why != c.why {
				t.Errorf("due in %v because %q, want %v to %v because %q", in, why, c.from, c.to, c.why)
			}
		})
	}
}

func TestAnIdempotentTokenIsRefreshedInItsLastFiveMinutes(t *testing.T) {
	policy, err := refresh.Policy{}.Complete(idempotent, wechat)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		rec := token.Record{Version: 1, Value: token.NewSecret("v"), Life: 2 * time.Hour, Resolved: token.Resolution{Attempt: rapid.String().Draw(t, "attempt")}}
		left := time.Duration(rapid.Int64Range(int64(300*time.Second), int64(2*time.Hour)).Draw(t, "left"))
		in, _ := policy.Due(rec, idempotent, time.Now(), left)
		if then := left - in; then >= 5*time.Minute || then < 4*time.Minute {
			t.Fatalf("refreshed with %v left, want the last five minutes, and not the last four", then)
		}
	})
}

func TestAPolicyThatCannotWorkIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy refresh.Policy
		traits token.Traits
		want   string
	}{
		{"too late for a rotating upstream", refresh.Policy{Ahead: 539 * time.Second}, rotating, "at least 9m0s"},
		{"ahead of the whole life", refresh.Policy{Ahead: 2 * time.Hour}, rotating, "less than the token's life"},
		{"a reserve as large as the budget", refresh.Policy{DailyBudget: 10, Reserve: 10}, rotating, "less than the daily budget"},
		{"an interval below a second", refresh.Policy{Rules: []refresh.Rule{{Every: time.Millisecond, Text: "every 1ms"}}}, idempotent, "at least 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.policy.Complete(c.traits, wechat)
			if !errors.Is(err, refresh.ErrBadPolicy) || !contains(err.Error(), c.want) {
				t.Errorf("error %v, want ErrBadPolicy with %q", err, c.want)
			}
		})
	}
	if _, err := (refresh.Policy{Ahead: 540 * time.Second}).Complete(rotating, wechat); err != nil {
		t.Errorf("the least that is allowed is refused: %v", err)
	}
}

func TestBackOffGrowsWithFailuresAndShrinksTowardsTheEnd(t *testing.T) {
	classes := []token.Class{token.Transient, token.Unreachable, token.Address, token.MinuteQuota, token.DailyQuota, token.Blocked, token.Human, token.Bug}
	rapid.Check(t, func(t *rapid.T) {
		f := token.Failure{
			Class:      rapid.SampledFrom(classes).Draw(t, "class"),
			RetryAfter: time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "retry after")),
		}
		n := rapid.IntRange(1, 1000).Draw(t, "failures")
		left := time.Duration(rapid.Int64Range(int64(-time.Hour), int64(2*time.Hour)).Draw(t, "left"))
		jitter := rapid.Float64Range(0, 0.999).Draw(t, "jitter")
		wait := refresh.BackOff(f, n, left, jitter)
		if wait < 750*time.Millisecond {
			t.Fatalf("waits only %v", wait)
		}
		if more := refresh.BackOff(f, n+1, left, jitter); more < wait {
			t.Fatalf("waits %v after %d failures, but %v after one more", wait, n, more)
		}
		if sooner := refresh.BackOff(f, n, left-time.Minute, jitter); sooner > wait {
			t.Fatalf("waits %v with %v left, but %v a minute later", wait, left, sooner)
		}
		if f.Class != token.DailyQuota && wait < f.RetryAfter {
			t.Fatalf("told to wait %v, but waits only %v", f.RetryAfter, wait)
		}
		if f.Class == token.MinuteQuota && wait < 45*time.Second {
			t.Fatalf("over the minute's quota, but waits only %v", wait)
		}
		if f.Class == token.DailyQuota && wait > 40*time.Minute {
			t.Fatalf("never looks again for %v", wait)
		}
		if (f.Class == token.Human || f.Class == token.Address || f.Class == token.Bug) && left <= 0 && wait > max(75*time.Second, f.RetryAfter+time.Second) {
			t.Fatalf("without a living token waits %v for somebody to mend it", wait)
		}
	})
}
