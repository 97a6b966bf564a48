package view_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestATokenIsActiveThenSuspectThenExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		r.load(nil)
		r.sync()
		pending := begun(token.Record{}, "a")
		r.see("t", pending)
		r.see("t", committed(pending, time.Now()))
		for _, step := range []struct {
			after time.Duration
			state view.State
			ttl   time.Duration
		}{
			{0, view.Active, w},
			{w - 1, view.Active, 1},
			{w, view.Suspect, 0},
			{life - 1, view.Suspect, 0},
			{life, view.Expired, 0},
			{2 * life, view.Expired, 0},
		} {
			time.Sleep(step.after - c.Now().Sub(0))
			r.must("t", step.state, step.ttl)
			r.mustEnd("t", life-step.after)
		}
	})
}

func TestARotatingTokenIsNotPromisedWithoutAProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), stable("s"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec, "s": rec})
		r.must("t", view.Suspect, 0)
		r.must("s", view.Active, life-view.DefaultSkew) // an idempotent upstream lets it live to its end, whoever fetches
	})
}

func TestThePromiseNeverOutlivesTheNominalEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), stable("s"))
		rec := issued(1, time.Now().Add(-life+view.DefaultSkew+time.Minute))
		r.load(map[string]token.Record{"t": rec, "s": rec})
		r.sync()
		r.must("t", view.Active, time.Minute)
		r.must("s", view.Active, time.Minute)
		time.Sleep(time.Minute)
		r.sync()
		r.must("t", view.Expired, 0)
		r.must("s", view.Expired, 0)
	})
}

func TestARotatingTokenIsPromisedForWFromTheProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), stable("s"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec, "s": rec})
		for range 5 {
			r.sync()
			r.must("t", view.Active, w)
			time.Sleep(time.Second)
			r.must("t", view.Active, w-time.Second)
		}
		r.must("s", view.Active, life-view.DefaultSkew-5*time.Second)
	})
}

func TestWithoutATokenNothingIsPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), stable("s"))
		check := func() {
			t.Helper()
			for _, name := range []string{"t", "s"} {
				got := r.Token(name).Read()
				if got.State != view.Expired || got.TTL != 0 || got.Nominal != 0 || !got.Expires.IsZero() || got.Record == nil {
					t.Errorf("%s without a token reads %+v", name, got)
				}
			}
		}
		check()
		r.load(nil)
		r.sync()
		check()
		r.see("t", begun(token.Record{}, "a"))
		r.see("s", begun(token.Record{}, "b"))
		r.sync()
		check()
	})
}

func TestACondemnedTokenIsExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), stable("s"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec, "s": rec})
		r.sync()
		dead := rec
		dead.Condemned = true
		for _, name := range []string{"t", "s"} {
			r.see(name, dead)
			r.must(name, view.Expired, 0)
			pending := begun(dead, "a")
			r.see(name, pending)
			r.must(name, view.Expired, 0)
			r.see(name, committed(pending, time.Now()))
			if got := r.Token(name).Read(); got.State != view.Active {
				t.Errorf("the successor of a condemned token is %v", got.State)
			}
		}
	})
}

func TestTheNominalEndIsShownOnTheReplicasWallClock(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	r := newReplica(t, c, classic("t"))
	r.load(nil)
	r.sync()
	pending := begun(token.Record{}, "a")
	r.see("t", pending)
	r.see("t", committed(pending, c.Wall()))
	hands.pass(time.Minute)
	hands.move(0, 20*time.Millisecond) // slewed
	if got, want := r.Token("t").Read().Expires, c.Wall().Add(life-time.Minute); !got.Equal(want) {
		t.Errorf("expires at %v, want %v", got, want)
	}
}

func TestAnIdempotentTokenIgnoresAPendingAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, stable("s"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"s": begun(rec, "found")}) // found at start-up: the same
		r.must("s", view.Active, life-view.DefaultSkew)
		r.sync()
		r.see("s", begun(rec, "a"))
		r.must("s", view.Active, life-view.DefaultSkew)
	})
}

func TestAnAttemptThatKillsTheTokenLeavesNothingToPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), stable("s"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec, "s": rec})
		r.sync()
		for _, name := range []string{"t", "s"} {
			pending := forced(rec, "a")
			r.see(name, pending)
			r.must(name, view.Suspect, 0)
			r.sync()
			r.must(name, view.Suspect, 0)

			r.see(name, aborted(pending)) // it was refused: nothing was killed
			if got := r.Token(name).Read(); got.State != view.Active {
				t.Errorf("%s is %v after a forced attempt was aborted", name, got.State)
			}
			pending = forced(rec, "b")
			r.see(name, pending)
			r.see(name, committed(pending, time.Now()))
			if got := r.Token(name).Read(); got.State != view.Active {
				t.Errorf("%s is %v after a forced attempt brought a token", name, got.State)
			}
		}
	})
}

// A forced attempt that follows an ordinary one, whose outcome is unknown, kills the token that was frozen.
func TestAForcedAttemptEndsAPromiseThatWasFrozenBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		r.see("t", begun(rec, "a"))
		r.must("t", view.Active, w)
		r.see("t", forced(begun(rec, "a"), "b"))
		r.must("t", view.Suspect, 0)
	})
}

// Doubt about an idempotent token is left by a forced attempt whose outcome is unknown.
func TestAnIdempotentTokenInDoubtIsNotPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, stable("s"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"s": rec})
		r.sync()
		doubtful := rec
		doubtful.Doubt, doubtful.Drained = true, true
		r.see("s", doubtful)
		r.must("s", view.Suspect, 0)
		r.see("s", begun(doubtful, "b"))
		r.must("s", view.Suspect, 0)
	})
}

func TestTheLongestPromiseBoundsEveryPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), stable("s"))
		for name, want := range map[string]time.Duration{"t": w, "s": life} {
			if got := r.Token(name).LongestPromise(); got != want {
				t.Errorf("the longest promise on %s is %v, want %v", name, got, want)
			}
		}
	})
}

func TestStatesHaveNames(t *testing.T) {
	for state, want := range map[view.State]string{view.Active: "active", view.Suspect: "suspect", view.Expired: "expired"} {
		if got := state.String(); got != want {
			t.Errorf("state %d is called %q, want %q", state, got, want)
		}
	}
}
