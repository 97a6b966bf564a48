package view_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestThePromiseCountsFromTheSendingOfTheRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		r.load(map[string]token.Record{"t": issued(1, time.Now())})
		sent := c.Read()
		time.Sleep(3 * time.Second) // the answer is under way
		r.syncSince(sent)
		r.must("t", view.Active, w-3*time.Second)
		if age, ok := r.Age(); !ok || age != 3*time.Second {
			t.Errorf("the view is %v old (%v), want 3s", age, ok)
		}
	})
}

func TestTheWatchRenewsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		time.Sleep(time.Minute)
		r.see("t", rec)
		r.must("t", view.Active, w-time.Minute)
		r.see("t", committed(begun(rec, "a"), time.Now()))
		r.must("t", view.Active, w-time.Minute)
		r.Apply(r.revision+1, 0, nil) // something that is no token
		r.must("t", view.Active, w-time.Minute)
	})
}

func TestALoadAloneRenewsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.must("t", view.Suspect, 0)
		r.sync()
		time.Sleep(time.Minute)
		r.load(map[string]token.Record{"t": rec})
		r.must("t", view.Active, w-time.Minute)
	})
}

func TestAProofIsRefusedUntilTheViewHasAppliedWhatItSaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		time.Sleep(time.Second)
		sent := c.Read()
		if r.Synced(sent, r.head+1) {
			t.Error("a proof was accepted that had seen a change which the view has not")
		}
		r.must("t", view.Active, w-time.Second)
		if ok, _ := r.Applied(r.head + 1); ok {
			t.Error("the view says that it has applied a revision which it has not")
		}
		r.see("t", rec)
		r.syncSince(sent)
		r.must("t", view.Active, w)
	})
}

func TestARevisionThatChangedNoTokenDoesNotMoveTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		r.load(nil)
		r.Apply(r.revision+5, 0, nil)
		if ok, _ := r.Applied(r.head + 1); ok {
			t.Error("the view says that it has applied a head which it has not seen")
		}
		if got := r.Revision(); got != r.revision+5 {
			t.Errorf("the view is at revision %d, want %d", got, r.revision+5)
		}
	})
}

func TestAnAnswerThatWasOvertakenDoesNotReplaceANewerProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		r.load(map[string]token.Record{"t": issued(1, time.Now())})
		first := c.Read()
		time.Sleep(2 * time.Second)
		r.sync()
		r.syncSince(first)
		r.must("t", view.Active, w)
	})
}

func TestAProofThatWasSentBeforeAJumpIsRefused(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		hands := newClocks()
		c := clock.FromSource(hands.read)
		r := newReplica(t, c, classic("t"))
		r.load(map[string]token.Record{"t": issued(1, c.Wall())})
		sent := c.Read()
		hands.move(0, jump)
		if r.Synced(sent, r.head) {
			t.Errorf("a proof was accepted although the wall clock had jumped by %v since it was sent", jump)
		}
		if _, ok := r.Age(); ok || r.InSync() {
			t.Error("the view claims to be fresh")
		}
	}
}

func TestAppliedTellsWhenTheViewMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		r.load(nil)
		for _, move := range []func(){
			func() { r.see("t", issued(1, time.Now())) },
			func() { r.load(nil) },
			func() { r.revision++; r.Apply(r.revision, 0, nil) },
		} {
			_, moved := r.Applied(r.head + 1)
			if isClosed(moved) {
				t.Fatal("told to look again before anything moved")
			}
			move()
			if !isClosed(moved) {
				t.Error("the view moved on and did not tell")
			}
		}
	})
}

func TestAReplicaIsInSyncForTenSecondsAfterAProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), stable("s"))
		mustBe := func(want bool) {
			t.Helper()
			if r.InSync() != want || r.Token("t").Read().InSync != want || r.Token("s").Read().InSync != want {
				t.Errorf("in sync: the view says %v, its tokens %v and %v, want %v",
					r.InSync(), r.Token("t").Read().InSync, r.Token("s").Read().InSync, want)
			}
		}
		mustBe(false)
		if _, ok := r.Age(); ok {
			t.Error("a view without a proof has an age")
		}
		r.load(map[string]token.Record{"t": issued(1, time.Now()), "s": issued(1, time.Now())})
		mustBe(false)
		r.sync()
		mustBe(true)
		time.Sleep(view.DefaultSyncWindow - 1)
		mustBe(true)
		time.Sleep(time.Nanosecond)
		mustBe(false)
	})
}

func TestALoadThatTheWatchOvertookIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := issued(1, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		floor, revision, head := r.Revision(), r.revision, r.head // what a read finds that is slow to arrive
		pending := begun(rec, "a")
		r.see("t", pending)
		time.Sleep(time.Second)
		if r.Load(floor, revision, head, []view.Change{{Name: "t", Record: rec}}) {
			t.Error("a load that the watch had overtaken was taken in")
		}
		if got := r.Token("t").Read().Record; got.Pending == nil {
			t.Error("the pending attempt was forgotten")
		}
		if got := r.Revision(); got != r.revision {
			t.Errorf("the view went back to revision %d from %d", got, r.revision)
		}
		r.sync()
		r.must("t", view.Active, w-time.Second)
	})
}

func TestALoadOfTheRevisionThatTheViewIsAtIsTakenIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		r.load(map[string]token.Record{"t": issued(1, time.Now())})
		if err := r.Configure([]view.Spec{classic("t"), classic("new")}); err != nil {
			t.Fatal(err)
		}
		found := []view.Change{{Name: "t", Record: issued(1, time.Now())}, {Name: "new", Record: issued(3, time.Now())}}
		if !r.Load(r.revision, r.revision, r.head, found) {
			t.Error("the load was ignored")
		}
		if got := r.Token("new").Version(); got != 3 {
			t.Errorf("the new token has version %d, want 3", got)
		}
	})
}

func TestWhatTheWatchTellsLateIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		r.load(map[string]token.Record{"t": issued(2, time.Now())})
		changed := r.Token("t").Changed()
		for _, revision := range []int64{r.revision - 1, r.revision} {
			if r.Apply(revision, revision, []view.Change{{Name: "t", Record: issued(9, time.Now())}}) {
				t.Errorf("revision %d was taken in, although the view is at %d", revision, r.revision)
			}
		}
		if got := r.Token("t").Version(); got != 2 || isClosed(changed) {
			t.Errorf("a change from before the load was taken in: version %d", got)
		}
	})
}

// What every replica has yet to serve is unknown to the view: it may be configured there already, or no more.
func TestChangesOfTokensThatAreNotConfiguredAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		r.load(map[string]token.Record{"t": issued(1, time.Now()), "stranger": issued(1, time.Now())})
		r.see("stranger", issued(2, time.Now()))
		r.sync() // and yet the head has moved on
		if r.Token("stranger") != nil {
			t.Error("a token appeared that was not configured")
		}
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
