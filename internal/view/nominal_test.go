package view_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// both runs a test for a rotating token and for an idempotent one.
func both(t *testing.T, test func(r *replica)) {
	t.Helper()
	for _, spec := range []view.Spec{classic("t"), stable("t")} {
		t.Run(spec.Traits.Kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(newReplica(t, clock.New(), spec)) })
		})
	}
}

func TestAReplicaThatSawTheAttemptBeginNeedsNoWallClock(t *testing.T) {
	for _, wrong := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute, 1000 * time.Hour} {
		both(t, func(r *replica) {
			r.load(nil)
			r.sync()
			time.Sleep(2 * time.Second)
			pending := begun(token.Record{}, "a")
			r.see("t", pending)
			time.Sleep(3 * time.Second)
			r.sync()
			pending.Failures++ // something else in the record
			r.see("t", pending)
			time.Sleep(time.Second)
			r.see("t", committed(pending, time.Now().Add(wrong))) // by the leader's wall clock
			r.mustEnd("t", life-6*time.Second)                    // from the proof before the attempt
		})
	}
}

func TestALateJoinerCountsFromTheWallClockLessTheSkew(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Second, 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			c := clock.New()
			v := view.New(view.Config{Clock: c, Skew: skew})
			if err := v.Configure([]view.Spec{classic("t")}); err != nil {
				t.Fatal(err)
			}
			if skew == 0 {
				skew = view.DefaultSkew
			}
			rec := issued(3, time.Now().Add(-time.Hour))
			v.Load(0, 7, 7, []view.Change{{Name: "t", Record: rec}})
			if got, want := v.Token("t").Read().Nominal, life-time.Hour-skew; got != want {
				t.Errorf("with a tolerated skew of %v the token ends in %v, want %v", skew, got, want)
			}
		})
	}
}

// The limit of a late joiner: its own wall clock is all that it has, and the tolerated skew all that it allows for. But however wrong the
// clocks are, no more is left than there ever was.
func TestALateJoinersWrongWallClockShiftsTheNominalEnd(t *testing.T) {
	for _, wrong := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		both(t, func(r *replica) {
			r.load(map[string]token.Record{"t": issued(1, time.Now().Add(wrong))})
			r.mustEnd("t", min(life, life+wrong-view.DefaultSkew))
		})
	}
}

func TestWhoDidNotSeeTheAttemptBeginCountsFromTheWallClock(t *testing.T) {
	byWall := life - time.Second - view.DefaultSkew
	pending := begun(token.Record{}, "a")
	for name, see := range map[string]func(r *replica, rec token.Record){
		"it learned of the commit alone": func(r *replica, rec token.Record) {
			r.sync()
			r.see("t", rec)
		},
		"it had no proof when the attempt began": func(r *replica, rec token.Record) {
			r.see("t", pending)
			r.sync()
			r.see("t", rec)
		},
		"its last proof was too old when the attempt began": func(r *replica, rec token.Record) {
			r.sync()
			time.Sleep(view.DefaultSyncWindow)
			r.see("t", pending)
			r.sync()
			rec.IssuedAt = rec.IssuedAt.Add(view.DefaultSyncWindow)
			r.see("t", rec)
		},
		"it saw another attempt begin": func(r *replica, rec token.Record) {
			r.sync()
			r.see("t", begun(token.Record{}, "another"))
			r.see("t", rec)
		},
	} {
		both(t, func(r *replica) {
			r.load(nil)
			see(r, committed(pending, time.Now().Add(-time.Second)))
			if got := r.Token("t").Read().Nominal; got != byWall {
				r.t.Errorf("%s: the token ends in %v, want %v", name, got, byWall)
			}
		})
	}
}

// An idempotent upstream answers with the same token until its last five minutes, and states what is left of it.
func TestTheSameTokenOnceMoreIsWorthNoLessToWhoKnewIt(t *testing.T) {
	for _, known := range []struct {
		stated, want time.Duration
		ahead        time.Duration // the leader's clock
		name         string
	}{
		{name: "what it knew", stated: life - time.Hour, want: life - time.Hour - time.Second},
		{name: "what it knew without a clock", stated: life - time.Hour, ahead: 10 * time.Minute, want: life - time.Hour - time.Second},
		{name: "what is stated now, if that is less", stated: 10 * time.Minute, want: 10 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newReplica(t, clock.New(), stable("t"))
			r.load(nil)
			r.sync()
			time.Sleep(time.Second)
			pending := begun(token.Record{}, "a")
			r.see("t", pending)
			rec := committed(pending, time.Now())
			r.see("t", rec)
			r.mustEnd("t", life-time.Second)

			time.Sleep(time.Hour) // in which nothing is heard
			again := begun(rec, "b")
			r.see("t", again)
			same := committed(again, time.Now().Add(known.ahead))
			same.Version, same.Value, same.Life = rec.Version, rec.Value, known.stated
			r.see("t", same)
			if got := r.Token("t").Read().Nominal; got != known.want {
				t.Errorf("%s: the token ends in %v, want %v", known.name, got, known.want)
			}
		})
	}
}

// A token that Configure adds to a view in sync: the view's proofs covered everything but its record.
func TestATokenThatWasAddedIsALateJoinersToken(t *testing.T) {
	both(t, func(r *replica) {
		r.load(nil)
		r.sync()
		added := classic("added")
		if err := r.Configure([]view.Spec{classic("t"), added}); err != nil {
			r.t.Fatal(err)
		}
		pending := begun(issued(1, time.Now().Add(-life)), "a")
		r.see("added", pending) // the first that the replica hears of it
		r.see("added", committed(pending, time.Now()))
		r.mustEnd("added", life-view.DefaultSkew)
	})
}

func TestALoadThatFindsTheAttemptBegunAnchorsTheLifeToo(t *testing.T) {
	both(t, func(r *replica) {
		rec := issued(1, time.Now().Add(-life/2))
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		time.Sleep(2 * time.Second) // the watch is dead
		pending := begun(rec, "a")
		r.load(map[string]token.Record{"t": pending})
		r.sync()
		r.see("t", committed(pending, time.Now().Add(time.Hour)))
		r.mustEnd("t", life-2*time.Second)
	})
}

func TestTheLatestAttemptCountsNotTheFirst(t *testing.T) {
	both(t, func(r *replica) {
		r.load(nil)
		r.sync()
		first := begun(token.Record{}, "a")
		r.see("t", first)
		time.Sleep(time.Minute)
		r.sync()
		second := begun(aborted(first), "b")
		r.see("t", second)
		time.Sleep(5 * time.Second)
		r.see("t", committed(second, time.Now().Add(time.Hour)))
		r.mustEnd("t", life-5*time.Second)
	})
}

func TestOnlyACommitMovesTheNominalEnd(t *testing.T) {
	both(t, func(r *replica) {
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		end := life - view.DefaultSkew
		for _, next := range []token.Record{begun(rec, "a"), aborted(begun(rec, "a")), begun(rec, "b"), begun(begun(rec, "b"), "c")} {
			time.Sleep(time.Second)
			end -= time.Second
			r.see("t", next)
			r.mustEnd("t", end)
		}
		r.load(map[string]token.Record{"t": rec})
		r.mustEnd("t", end)
	})
}

// WeChat stable answers with the same token and what is left of its life.
func TestTheSameTokenWithANewLifeMovesTheNominalEnd(t *testing.T) {
	both(t, func(r *replica) {
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		time.Sleep(2 * time.Second)
		pending := begun(rec, "a")
		r.see("t", pending)
		again := committed(pending, time.Now())
		again.Version, again.Value, again.Life = rec.Version, rec.Value, time.Hour
		r.see("t", again)
		r.mustEnd("t", time.Hour-2*time.Second)
		if got := r.Token("t").Version(); got != 1 {
			r.t.Errorf("version %d, want 1", got)
		}
	})
}

func TestNominalEndIsKnownForTheHeldVersionOnly(t *testing.T) {
	both(t, func(r *replica) {
		held := r.Token("t")
		if _, ok := held.NominalEnd(0); ok || held.Version() != 0 {
			r.t.Errorf("a view without a token knows the end of version %d", held.Version())
		}
		time.Sleep(time.Minute)
		r.load(map[string]token.Record{"t": issued(2, time.Now())})
		end, ok := held.NominalEnd(2)
		if want := r.clock.Now().Add(life - view.DefaultSkew); !ok || end != want || held.Version() != 2 {
			r.t.Errorf("version %d ends at %v (%v), want version 2 at %v", held.Version(), end, ok, want)
		}
		for _, version := range []int64{0, 1, 3} {
			if _, ok := held.NominalEnd(version); ok {
				r.t.Errorf("the end of version %d is known, but 2 is held", version)
			}
		}
	})
}
