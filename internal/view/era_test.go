package view_test

import (
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// bent returns a replica on clocks that the test moves, in sync, with a rotating token "t" and an idempotent one "s", both of which it
// saw issued just now.
func bent(t *testing.T) (*clocks, *replica) {
	t.Helper()
	hands := newClocks()
	c := clock.FromSource(hands.read)
	r := newReplica(t, c, classic("t"), stable("s"))
	r.load(nil)
	r.sync()
	for _, name := range []string{"t", "s"} {
		pending := begun(token.Record{}, "a")
		r.see(name, pending)
		r.see(name, committed(pending, c.Wall()))
	}
	r.must("t", view.Active, w)
	r.must("s", view.Active, life)
	return hands, r
}

func TestAJumpOfTheWallClockForgetsTheProof(t *testing.T) {
	for _, jump := range []time.Duration{10 * time.Minute, -10 * time.Minute, time.Second, -time.Second} {
		hands, r := bent(t)
		hands.move(0, jump)
		r.must("t", view.Suspect, 0)
		if got := r.Token("s").Read(); got.State != view.Active {
			t.Errorf("an idempotent token is %v after a jump of %v; it rests on no proof", got.State, jump)
		}
		if _, ok := r.Age(); ok || r.InSync() || r.Token("t").Read().InSync {
			t.Errorf("the view claims to be fresh after a jump of %v", jump)
		}
		r.sync()
		r.must("t", view.Active, w)
	}
}

func TestSlewingTheWallClockForgetsNothing(t *testing.T) {
	hands, r := bent(t)
	hands.move(time.Minute, time.Minute+30*time.Millisecond)
	r.must("t", view.Active, w-time.Minute)
	r.must("s", view.Active, life-time.Minute)
}

func TestAForwardJumpShortensTheNominalEnd(t *testing.T) {
	hands, r := bent(t)
	hands.move(0, time.Hour) // a suspend, perhaps
	r.mustEnd("t", life-time.Hour)
	r.must("s", view.Active, life-time.Hour)
	hands.move(0, -time.Hour) // and if it was none, that hour is lost
	r.mustEnd("t", life-time.Hour)
	r.must("s", view.Active, life-time.Hour)
	hands.move(0, time.Hour)
	r.must("t", view.Expired, 0)
	r.must("s", view.Expired, 0)
}

func TestABackwardJumpDoesNotLengthenTheNominalEnd(t *testing.T) {
	hands, r := bent(t)
	hands.move(0, -time.Hour)
	r.mustEnd("t", life)
	r.must("s", view.Active, life)
	hands.pass(time.Minute)
	r.must("s", view.Active, life-time.Minute)
}

func TestAForwardJumpShortensAFrozenPromise(t *testing.T) {
	hands, r := bent(t)
	r.see("t", begun(*r.Token("t").Read().Record, "b"))
	hands.move(0, time.Minute)
	r.sync()
	r.must("t", view.Active, w-time.Minute)
	hands.move(0, w)
	r.sync()
	r.must("t", view.Suspect, 0)
}

// The anchor of a life may stem from an earlier era: what was jumped over counts as time that passed.
func TestAnAttemptThatWasSeenBeforeAJumpStillAnchorsTheLife(t *testing.T) {
	hands, r := bent(t)
	pending := begun(*r.Token("s").Read().Record, "b")
	r.see("s", pending)
	hands.move(0, 20*time.Minute)
	r.see("s", committed(pending, time.Time{}.Add(time.Hour)))
	r.mustEnd("s", life-20*time.Minute)
}

// TestALifeIsCountedAnewWhenTheClockIsSetRight: the machine booted with a wall clock that was hours ahead, and so everything that was
// issued before seemed to be over.
func TestALifeIsCountedAnewWhenTheClockIsSetRight(t *testing.T) {
	c := newClocks()
	at := c.wall
	c.wall = c.wall.Add(8 * time.Hour)
	r := newReplica(t, clock.FromSource(c.read), stable("a"), classic("b"))
	r.load(map[string]token.Record{"a": issued(1, at), "b": issued(1, at)})
	r.sync()
	c.move(time.Second, -8*time.Hour+time.Second)
	r.sync()
	r.sync()
	for _, name := range []string{"a", "b"} {
		if got := r.Token(name).Read(); got.State != view.Active {
			t.Errorf("%s is %v, nominal %v, after the clock was set right", name, got.State, got.Nominal)
		}
	}
}

// TestAValueOfAnotherSourceCountsAsRotating: the leader was told of another endpoint before this replica was.
func TestAValueOfAnotherSourceCountsAsRotating(t *testing.T) {
	c := newClocks()
	r := newReplica(t, clock.FromSource(c.read), stable("a"))
	rec := issued(1, c.wall)
	r.load(map[string]token.Record{"a": rec})
	r.sync()
	next := committed(begun(rec, "x"), c.wall)
	next.Source = "a rotating one"
	r.see("a", begun(rec, "x"))
	r.see("a", next)
	r.sync()
	if got := r.Token("a").Read(); got.State != view.Active || got.TTL > w {
		t.Errorf("%v for %v, want active for at most %v", got.State, got.TTL, w)
	}
}

// TestAWrongStepOfTheWallClockLengthensNoLifeThatNeedsNoWallClock: the replica saw its attempt begin.
func TestAWrongStepOfTheWallClockLengthensNoLifeThatNeedsNoWallClock(t *testing.T) {
	for _, step := range []time.Duration{time.Second, 10 * time.Minute, 8 * time.Hour} {
		hands, r := bent(t)
		hands.pass(time.Minute)
		hands.move(0, -step)
		r.sync()
		r.mustEnd("t", life-time.Minute)
		r.mustEnd("s", life-time.Minute)
		r.must("t", view.Active, w)
	}
}

// A suspend is no error: what was slept through is gone.
func TestALifeIsNotCountedAnewThroughASuspend(t *testing.T) {
	hands, r := bent(t)
	hands.move(0, time.Hour) // the monotonic clock slept
	r.sync()
	r.mustEnd("t", life-time.Hour)
	r.mustEnd("s", life-time.Hour)
	r.must("t", view.Active, w)
}

// TestALifeRecoversWhenAWrongStepOfTheWallClockIsUndone: as far as a late joiner would trust it.
func TestALifeRecoversWhenAWrongStepOfTheWallClockIsUndone(t *testing.T) {
	hands, r := bent(t)
	hands.move(0, time.Hour)
	r.sync()
	r.mustEnd("s", life-time.Hour)
	hands.pass(time.Minute)
	hands.move(0, -time.Hour)
	r.sync()
	r.mustEnd("s", life-time.Minute-view.DefaultSkew)
	r.mustEnd("t", life-time.Minute-view.DefaultSkew)
	// A second wrong step adds nothing to what is known by now.
	hands.move(0, -time.Hour)
	r.sync()
	r.mustEnd("s", life-time.Minute)
}

// Only jumps since the proof from which the life is counted can have been counted in error.
func TestAWrongStepGivesNothingBackFromBeforeTheLifeBegan(t *testing.T) {
	hands, r := bent(t)
	hands.move(0, time.Hour)
	r.sync()
	for _, name := range []string{"t", "s"} {
		pending := begun(*r.Token(name).Read().Record, "b")
		r.see(name, pending)
		r.see(name, committed(pending, r.clock.Wall()))
	}
	hands.move(0, -2*time.Hour)
	r.sync()
	r.mustEnd("t", life)
	r.mustEnd("s", life)
}

// What the life of an earlier value was counted from bounds no later one.
func TestALifeThatWasCountedFromTheWallClockIsCountedAnewFromIt(t *testing.T) {
	hands, r := bent(t)
	hands.pass(time.Hour)
	r.sync()
	for _, name := range []string{"t", "s"} {
		r.see(name, issued(2, r.clock.Wall())) // nobody told of its attempt
	}
	hands.move(0, 30*time.Minute)
	r.sync()
	r.mustEnd("s", life-view.DefaultSkew-30*time.Minute)
	hands.move(0, -30*time.Minute)
	r.sync()
	r.mustEnd("s", life-view.DefaultSkew)
	r.mustEnd("t", life-view.DefaultSkew)
}
