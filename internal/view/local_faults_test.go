package view_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// A lone fetch comes back to a token that a reload has taken away meanwhile.
func TestWhatIsFetchedForARemovedTokenIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, clock.New(), stable("s"))
		s := r.Token("s") // as own.ServeLocal in cmd/broker looks it up, before ServeLocal takes the view's lock
		if err := r.Configure(nil); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.ServeLocal("", value(1), r.clock.Read(), life); ok {
			t.Error("a token that is not configured any more is served")
		}
	})
}

// The request was written before the forced refresh, its answer comes after the view has seen that.
func TestAFetchThatAForcedRefreshOvertookIsNotPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, clock.New(), stable("s"))
		held := issued(4, time.Now())
		r.load(map[string]token.Record{"s": held})
		r.sync()
		time.Sleep(life - time.Minute) // cut off
		wrote := r.clock.Read()        // the lone request; WeChat issues value 99 at once, the answer is slow
		time.Sleep(time.Second)
		begun := forced(held, "f")
		begun.Spent.ForcedAt = time.Now()
		done := committed(begun, time.Now()) // kills 99
		time.Sleep(time.Second)
		r.load(map[string]token.Record{"s": done})
		r.sync()
		r.Token("s").ServeLocal("", value(99), wrote, life)
		got := r.Token("s").Read()
		if got.State == view.Active && got.Record.Value == value(99) {
			t.Errorf("in sync, the replica promises for %v a value that it has seen a forced refresh kill; version %d", got.TTL, got.Record.Version)
		}
		next := issued(6, time.Now()) // the leader's next commit, before it hears of the floor
		if got.Record.Version == next.Version && got.Record.Value != next.Value {
			t.Errorf("version %d is %v here, and will be another value at the others", got.Record.Version, got.Record.Version)
		}
	})
}

// Wall clocks 20 s apart are within the assumptions.
func TestALocalVersionIsNotTheLeadersNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, clock.New(), stable("s"))
		held := issued(4, time.Now().Add(20*time.Second)) // by a leader whose clock is 20 s ahead
		held.Condemned = true
		r.load(map[string]token.Record{"s": held})
		r.sync()
		time.Sleep(11 * time.Second) // cut off; the leader goes on: version 5 is its next
		if got := r.serveLocal(value(99)); got == 5 {
			t.Errorf("the local version is %d, which is what the leader calls its next value", got)
		}
	})
}

// A reload while the replica is local.
func TestAReloadDoesNotTakeALocalVersionBack(t *testing.T) {
	for name, reload := range map[string]func(t *testing.T, r *replica){
		"another upstream": func(t *testing.T, r *replica) {
			other := stable("s")
			other.Traits.Source = "another application"
			if err := r.Configure([]view.Spec{other}); err != nil {
				t.Fatal(err)
			}
		},
		"taken out and put in again": func(t *testing.T, r *replica) {
			for _, specs := range [][]view.Spec{nil, {stable("s")}} {
				if err := r.Configure(specs); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, held, version := alone(t)
				reload(t, r)
				r.load(map[string]token.Record{"s": held})
				r.sync()
				if got := r.Token("s").Read().Record.Version; got < version {
					t.Errorf("the replica went from version %d back to %d", version, got)
				}
				if got := r.Unmerged()["s"]; got != version {
					t.Errorf("the leader will never hear of %d (unmerged: %d), so that watchers who hold it never hear of any other", version, got)
				}
			})
		})
	}
}

// The store says that the very value is dead.
func TestALocalValueThatTheStoreCondemnsIsNotPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, held, version := alone(t)
		same := held
		same.Version, same.Value = 5, value(99) // the leader fetched, too: an idempotent upstream answers with the same value
		same.Condemned = true                   // and found it dead since
		r.load(map[string]token.Record{"s": same})
		r.sync()
		if got := r.Token("s").Read(); got.State == view.Active {
			t.Errorf("in sync, version %d (local %d) is promised for %v; its value is condemned in the store", got.Record.Version, version, got.TTL)
		}
	})
}

// What was fetched long after a forced attempt is surely over.
func TestAFetchAloneEndsADoubtThatIsOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, unsettle := range map[string]func(token.Record) token.Record{
			"a forced attempt under way": func(rec token.Record) token.Record { return forced(rec, "f") },
			"a store that lost the value": func(rec token.Record) token.Record {
				return token.Record{Version: 12, Doubt: true}
			},
		} {
			r := newReplica(t, clock.New(), stable("s"))
			held := issued(4, time.Now())
			r.load(map[string]token.Record{"s": held})
			r.sync()
			r.see("s", unsettle(held)) // the last that is heard of etcd
			time.Sleep(life - time.Minute)
			r.serveLocal(value(99))
			if got := r.Token("s").Read(); got.State != view.Active {
				t.Errorf("%s: two hours later what was fetched alone is %v", name, got.State)
			}
		}
	})
}

// After a restore the leader raises the version of a record that was never issued.
func TestALocalVersionAfterAnEmptiedStoreIsNotAbsurd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, clock.New(), stable("s"))
		r.load(map[string]token.Record{"s": {Version: 12, Doubt: true}}) // what termRun.raise makes of a record that is not there
		got := r.serveLocal(value(99))
		if most := time.Now().UnixMicro() + 12; got > most {
			t.Errorf("the version is %d: above %d, which is all that a replica without a version ever makes up, and beyond 2^53 (%v)", got, most, got > 1<<53)
		}
	})
}

// A replica that starts while etcd is well.
func TestAnExpiredSnapshotIsNothingToServeFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newReplica(t, clock.New(), stable("s"))
		old.load(map[string]token.Record{"s": issued(4, time.Now())})
		kept := old.Held()
		time.Sleep(2 * life)
		heir := newReplica(t, clock.New(), stable("s"))
		heir.Restore(kept)
		if got := heir.Token("s").Read(); heir.Filled() && got.State == view.Expired {
			t.Error("the replica is ready, and all that it holds is expired")
		}
	})
}

// Wall clocks minutes apart: S1 need not rest on them here, since the record counts forced versions.
// An attempt that the replica saw begin was aborted while it was cut off; meanwhile it fetched alone, and got the same value.
func TestAnAbortedAttemptDoesNotRenewALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, clock.New(), stable("s"))
		held := issued(4, time.Now())
		r.load(map[string]token.Record{"s": held})
		time.Sleep(life - time.Hour) // the configuration says ahead: 1h
		r.sync()
		attempt := begun(held, "a")
		r.see("s", attempt) // and that is the last that is heard of etcd
		time.Sleep(20 * time.Minute)
		if _, ok := r.Token("s").ServeLocal("", held.Value, r.clock.Read(), 40*time.Minute); !ok { // the upstream says what is left
			t.Fatal("not served")
		}
		r.load(map[string]token.Record{"s": aborted(attempt)}) // the leader was refused
		r.sync()
		if got := r.Token("s").Read(); got.TTL > 40*time.Minute {
			t.Errorf("%v are promised of a value that has 40m0s left", got.TTL)
		}
	})
}
