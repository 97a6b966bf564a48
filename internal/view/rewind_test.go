package view_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// rewind has the store go back to where it had one record, at a revision that is ahead all the same.
func (r *replica) rewind(name string, rec token.Record) {
	r.revision += 1000
	r.head = 3
	r.Rewind(r.revision, r.head, []view.Change{{Name: name, Record: rec}})
}

func TestAfterTheStoreWentBackARotatingTokenIsPromisedAsFarAsWasKnownBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := issued(2, time.Now())
		r := newReplica(t, clock.New(), classic("t"))
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		time.Sleep(time.Minute)
		r.rewind("t", rec)
		r.sync()
		r.must("t", view.Active, w-time.Minute)
		if diff := cmp.Diff(map[string]int64{"t": 2}, r.Doubted()); diff != "" {
			t.Errorf("the leader is told of (-want +got):\n%s", diff)
		}
		r.see("t", rec) // whatever is told of this version
		time.Sleep(w)
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		r.must("t", view.Suspect, 0)

		doubted := inDoubt(rec)
		doubted.Floor = 2
		r.see("t", doubted)
		if got := r.Doubted(); len(got) != 0 {
			t.Errorf("once the record says so, the leader is told of %v", got)
		}
		r.see("t", issued(3, time.Now()))
		r.sync()
		r.must("t", view.Active, w)
	})
}

// What was unsettled before the restore is promised no longer because of it.
func TestAStoreThatWentBackEndsNoFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := issued(2, time.Now())
		r := newReplica(t, clock.New(), classic("t"))
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		r.see("t", begun(rec, "a"))
		time.Sleep(time.Minute)
		r.sync()
		r.rewind("t", rec)
		r.sync()
		r.must("t", view.Active, w-time.Minute)
	})
}

func TestAfterTheStoreWentBackAnIdempotentTokenIsInDoubtOnlyIfItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := issued(2, time.Now())
		for name, c := range map[string]struct {
			known   token.Record
			promise time.Duration
		}{
			"healthy":       {rec, life - view.DefaultSkew},
			"being fetched": {begun(rec, "a"), life - view.DefaultSkew},
			"being killed":  {forced(rec, "a"), 0},
			"in doubt":      {inDoubt(rec), 0},
		} {
			r := newReplica(t, clock.New(), stable("s"))
			r.load(map[string]token.Record{"s": rec})
			r.sync()
			r.see("s", c.known)
			r.rewind("s", rec)
			r.sync()
			if got := r.Token("s").Read(); got.TTL != c.promise || len(r.Doubted()) != 0 != (c.promise == 0) {
				t.Errorf("%s before: promised for %v, want %v; the leader is told of %v", name, got.TTL, c.promise, r.Doubted())
			}
		}
	})
}

func TestADeadValueStaysDeadWhateverTheStoreForgets(t *testing.T) {
	for _, spec := range []view.Spec{classic("t"), stable("t")} {
		rec := issued(2, time.Now())
		dead := rec
		dead.Condemned = true
		r := newReplica(t, clock.New(), spec)
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		r.see("t", dead)
		r.rewind("t", rec)
		r.sync()
		r.must("t", view.Expired, 0)
		if diff := cmp.Diff(map[string]int64{"t": 2}, r.Ahead()); diff != "" {
			t.Errorf("the leader is told of (-want +got):\n%s", diff)
		}
		r.see("t", dead)
		if got := r.Ahead(); len(got) != 0 {
			t.Errorf("once the store knows, the leader is told of %v", got)
		}
	}
}

// It was started after the restore, and has proved current since what the others then put in doubt.
func TestWhoDidNotNoticeThatTheStoreWentBackPromisesNothingOnceItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := issued(2, time.Now())
		r := newReplica(t, clock.New(), classic("t"))
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		r.must("t", view.Active, w)
		rec.Doubt, rec.Floor = true, 2
		r.see("t", rec)
		r.must("t", view.Suspect, 0)
	})
}

func TestWhatIsKeptOverARestartTellsThatTheStoreWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := issued(2, time.Now())
		r := newReplica(t, clock.New(), classic("t"))
		r.load(map[string]token.Record{"t": inDoubt(rec)})
		if held := r.Held(); !held[0].Record.Doubt || held[0].Doubted {
			t.Errorf("in doubt by the record: %+v", held)
		}
		r.rewind("t", rec)
		if held := r.Held(); !held[0].Record.Doubt || !held[0].Doubted {
			t.Errorf("after the store went back: %+v", held)
		}
	})
}

// A version that the replica never held is as good as any; one that a snapshot tells to be in doubt is so until there is a higher one.
func TestADoubtOutlivesARestartAndEndsWithAHigherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := inDoubt(issued(2, time.Now()))
		r := newReplica(t, clock.New(), classic("t"))
		r.Restore([]view.Held{{Name: "t", Record: rec, Seen: 2, Doubted: true}})
		rec.Doubt = false
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		r.must("t", view.Suspect, 0)
		r.rewind("t", issued(3, time.Now()))
		r.sync()
		r.must("t", view.Active, w)
	})
}

// A record that only a newer program can read is doubt while it cannot be read, and no longer: after the restart that brings the newer
// program, the record itself tells.
func TestARecordThatCouldNotBeReadIsNotInDoubtAfterTheRestart(t *testing.T) {
	for _, spec := range []view.Spec{classic("t"), stable("t")} {
		synctest.Test(t, func(t *testing.T) {
			rec := issued(2, time.Now())
			r := newReplica(t, clock.New(), spec)
			r.load(map[string]token.Record{"t": rec})
			r.sync()
			r.tell(view.Change{Name: "t", Unreadable: true})
			held := r.Held()
			r = newReplica(t, clock.New(), spec)
			r.Restore(held)
			if got := r.Token("t").Read(); got.TTL != 0 {
				t.Errorf("before the store is heard, it is promised for %v", got.TTL)
			}
			r.load(map[string]token.Record{"t": rec})
			r.sync()
			if got := r.Token("t").Read(); got.State != view.Active || len(r.Doubted()) != 0 {
				t.Errorf("it is %v, and the leader is told of %v", got.State, r.Doubted())
			}
		})
	}
}
