package view_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// frozen brings a replica to this: a proof at 0, an attempt that began at 1 s, a proof at 2 s. It returns the record before the attempt.
func frozen(r *replica, change func(token.Record) token.Record) token.Record {
	r.t.Helper()
	rec := issued(1, time.Now())
	r.load(map[string]token.Record{"t": rec})
	r.sync()
	time.Sleep(time.Second)
	r.see("t", change(rec))
	time.Sleep(time.Second)
	r.sync()
	return rec
}

func pendingA(rec token.Record) token.Record { return begun(rec, "a") }

func inDoubt(rec token.Record) token.Record {
	rec.Doubt = true
	return rec
}

func TestAnUnsettledAttemptFreezesThePromiseAtTheProofBeforeIt(t *testing.T) {
	for name, change := range map[string]func(token.Record) token.Record{"pending": pendingA, "doubt": inDoubt} {
		synctest.Test(t, func(t *testing.T) {
			c := clock.New()
			r := newReplica(t, c, classic("t"))
			frozen(r, change)
			for range 3 { // no later proof helps
				now := c.Now().Sub(0)
				r.must("t", view.Active, w-now)
				time.Sleep(time.Second)
				r.sync()
			}
			time.Sleep(w - c.Now().Sub(0) - 1)
			r.must("t", view.Active, 1)
			time.Sleep(time.Nanosecond)
			r.sync()
			r.must("t", view.Suspect, 0)
			if t.Failed() {
				t.Log(name)
			}
		})
	}
}

func TestALaterAttemptDoesNotThawThePromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := frozen(r, pendingA)
		time.Sleep(w - 2*time.Second)
		r.sync()
		second := begun(begun(rec, "a"), "b") // the first was never resolved
		r.see("t", second)
		r.sync()
		r.must("t", view.Suspect, 0)
		r.see("t", aborted(second)) // refused: and still the first may have rotated the token away
		r.sync()
		r.must("t", view.Suspect, 0)
		r.see("t", begun(aborted(second), "c"))
		r.sync()
		r.must("t", view.Suspect, 0)
	})
}

func TestANewVersionThawsThePromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := frozen(r, pendingA)
		time.Sleep(time.Second)
		r.see("t", committed(begun(rec, "a"), time.Now()))
		r.must("t", view.Active, w-time.Second) // the last proof was a second ago
	})
}

func TestACleanRecordThawsThePromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := frozen(r, pendingA)
		time.Sleep(time.Second)
		refused := aborted(begun(rec, "a"))
		r.see("t", refused)
		r.must("t", view.Active, w-time.Second)
		r.see("t", begun(refused, "b")) // freezes anew, at the newer proof
		r.sync()
		r.must("t", view.Active, w-time.Second)
	})
}

// A load may jump over a commit to the next attempt.
func TestANewVersionThatComesUnsettledIsFrozenAtTheLastProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := frozen(r, pendingA)
		time.Sleep(time.Second)
		next := committed(begun(rec, "a"), time.Now())
		r.load(map[string]token.Record{"t": begun(next, "b")})
		r.must("t", view.Active, w-time.Second)
		r.sync()
		r.must("t", view.Active, w-time.Second)
	})
}

func TestWhatIsFoundUnsettledAtStartUpIsNotPromised(t *testing.T) {
	for name, change := range map[string]func(token.Record) token.Record{"pending": pendingA, "doubt": inDoubt} {
		synctest.Test(t, func(t *testing.T) {
			c := clock.New()
			r := newReplica(t, c, classic("t"))
			rec := issued(1, time.Now())
			r.load(map[string]token.Record{"t": change(rec)})
			r.sync()
			r.must("t", view.Suspect, 0)
			time.Sleep(time.Second)
			r.see("t", begun(change(rec), "b")) // and a later attempt changes nothing
			r.sync()
			r.must("t", view.Suspect, 0)
			r.see("t", rec)
			r.must("t", view.Active, w)
			if t.Failed() {
				t.Log(name)
			}
		})
	}
}

// The proofs of a view that is in sync did not cover a token that was not configured: what the first look at it finds unsettled may
// have begun long before the last of them.
func TestWhatIsFoundUnsettledOfATokenThatWasAddedIsNotPromised(t *testing.T) {
	for name, change := range map[string]func(token.Record) token.Record{"pending": pendingA, "doubt": inDoubt} {
		for how, tell := range map[string]func(r *replica, rec token.Record){
			"load":  func(r *replica, rec token.Record) { r.load(map[string]token.Record{"t": rec, "added": rec}) },
			"watch": func(r *replica, rec token.Record) { r.see("added", rec) },
		} {
			synctest.Test(t, func(t *testing.T) {
				c := clock.New()
				r := newReplica(t, c, classic("t"))
				rec := issued(1, time.Now())
				r.load(map[string]token.Record{"t": rec, "added": change(rec)})
				r.sync()
				if err := r.Configure([]view.Spec{classic("t"), classic("added")}); err != nil {
					t.Fatal(err)
				}
				tell(r, change(rec))
				r.must("added", view.Suspect, 0)
				r.sync()
				r.must("added", view.Suspect, 0)
				if t.Failed() {
					t.Logf("%s, by %s", name, how)
				}
			})
		}
	}
}

func TestAnAttemptThatIsSeenWithoutAProofLeavesNothingToPromise(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	r := newReplica(t, c, classic("t"))
	rec := issued(1, c.Wall())
	r.load(map[string]token.Record{"t": rec})
	r.sync()
	hands.pass(time.Second)
	hands.move(0, -time.Minute) // the proof is forgotten
	r.see("t", begun(rec, "a"))
	r.sync()
	r.must("t", view.Suspect, 0)
}

// A replica that was cut off for a while promises nothing for the time in which it would not have seen the attempt begin.
func TestAnAttemptThatIsSeenLateFreezesThePromiseAtTheProofFromBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		time.Sleep(time.Minute) // cut off
		r.load(map[string]token.Record{"t": begun(rec, "a")})
		r.sync()
		r.must("t", view.Active, w-time.Minute)
	})
}
