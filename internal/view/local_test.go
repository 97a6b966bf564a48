package view_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// alone is a replica that held version 4 of a stable token, was cut off, and fetched alone when there was little left. It returns the
// local version.
func alone(t *testing.T) (*replica, token.Record, int64) {
	t.Helper()
	r := newReplica(t, clock.New(), stable("s"), classic("t"))
	held := issued(4, time.Now())
	r.load(map[string]token.Record{"s": held, "t": issued(1, time.Now())})
	r.sync()
	time.Sleep(life - time.Minute)
	version := r.serveLocal(value(99))
	return r, held, version
}

// serveLocal serves what a fetch that was written a second ago brought.
func (r *replica) serveLocal(value token.Secret) int64 {
	r.t.Helper()
	wrote := r.clock.Read()
	time.Sleep(time.Second)
	version, served := r.Token("s").ServeLocal("", value, wrote, life)
	if !served {
		r.t.Fatal("it is not served")
	}
	return version
}

func TestALocalVersionCountsTheMicrosecondsSinceTheLastWasIssued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, version := alone(t)
		if want := 4 + (life - time.Minute).Microseconds(); version != want {
			t.Errorf("the version is %d, want %d", version, want)
		}
		got := r.Token("s").Read()
		if got.Record.Version != version || got.Record.Value != value(99) || !got.Local || r.Token("s").Local() != version {
			t.Errorf("version %d is served, local %v, want the local one", got.Record.Version, got.Local)
		}
		if r.Token("s").Version() != 4 {
			t.Errorf("the newest of the store's versions is %d, want 4", r.Token("s").Version())
		}
		r.must("s", view.Active, life-time.Second) // from before the write
		time.Sleep(time.Hour)
		next := r.serveLocal(value(100))
		if want := version + (time.Hour + time.Second).Microseconds(); next != want {
			t.Errorf("the next version is %d, want %d", next, want)
		}
	})
}

func TestALocalVersionOfAReplicaThatKnowsNoneCountsFrom1970(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, clock.New(), stable("s"))
		if r.Filled() {
			t.Error("there is nothing to serve from yet")
		}
		_, moved := r.Applied(0)
		wrote := time.Now()
		if got := r.serveLocal(value(1)); got != wrote.UnixMicro() {
			t.Errorf("the version is %d, want %d", got, wrote.UnixMicro())
		}
		select {
		case <-moved:
		default:
			t.Error("those who wait for the view to fill were not woken")
		}
		if !r.Filled() {
			t.Error("there is something to serve from")
		}
	})
}

// The wall clock may have been set back since the held version was issued, or be behind the leader's. The leader counts on by one.
func TestALocalVersionIsFarHigherEvenIfTheClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, clock.New(), stable("s"))
		r.load(map[string]token.Record{"s": issued(4, time.Now().Add(20*time.Second))})
		got := r.serveLocal(value(99))
		if least, most := view.DefaultSkew.Microseconds(), 2*view.DefaultSkew.Microseconds(); got < 4+least || got > 4+most {
			t.Errorf("the version is %d, want %d to %d more than 4", got, least, most)
		}
		if !view.MayBeLocal(got, 4) || view.MayBeLocal(5, 4) {
			t.Error("the local version cannot be told from the leader's next")
		}
	})
}

func TestTheSameValueFetchedAloneKeepsItsVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, clock.New(), stable("s"))
		rec := issued(4, time.Now().Add(-time.Hour)) // a late joiner: counted by the wall clock
		r.load(map[string]token.Record{"s": rec})
		r.mustEnd("s", life-time.Hour-view.DefaultSkew)
		wrote := r.clock.Read()
		if got, ok := r.Token("s").ServeLocal("", rec.Value, wrote, life-time.Hour); got != 4 || !ok || r.Token("s").Local() != 0 {
			t.Errorf("served as version %d (%v), local %d; want version 4, not local", got, ok, r.Token("s").Local())
		}
		r.mustEnd("s", life-time.Hour)
		r.see("s", rec) // something else in the record changed
		r.mustEnd("s", life-time.Hour)
	})
}

func TestWhatMustNotBeServedLocally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := time.Duration(0)
		c := clock.FromSource(func() (time.Duration, time.Time) { now := time.Now(); return now.Sub(time.Unix(0, 0)), now.Add(wall) })
		r := newReplica(t, c, stable("s"), classic("t"))
		rec := issued(4, time.Now())
		rec.Condemned = true
		r.load(map[string]token.Record{"s": rec, "t": issued(1, time.Now())})
		if _, ok := r.Token("t").ServeLocal("", value(2), c.Read(), life); ok {
			t.Error("a rotating upstream's")
		}
		if _, ok := r.Token("s").ServeLocal("", rec.Value, c.Read(), life); ok {
			t.Error("the value that is known to be dead")
		}
		wrote := c.Read()
		wall = time.Hour
		if _, ok := r.Token("s").ServeLocal("", value(99), wrote, life); ok {
			t.Error("one whose fetch the clock jumped across")
		}
	})
}

func TestALocalVersionIsHeldAgainstLowerOnesAndEndsWithAHigher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, held, version := alone(t)
		if diff := cmp.Diff(map[string]int64{"s": version}, r.Unmerged()); diff != "" {
			t.Errorf("unmerged (-want +got):\n%s", diff)
		}
		floor := held
		floor.Floor = version
		equal := issued(version, time.Now())
		for _, c := range []struct {
			what     string
			rec      token.Record
			unmerged bool
		}{
			{"the old one", held, true},
			{"a new one below", issued(5, time.Now()), true},
			{"an equal one, with another value", equal, true},
			{"one that accounts for it", floor, false},
		} {
			r.see("s", c.rec)
			if got := r.Token("s").Read(); got.Record.Version != version || got.Record.Value != value(99) || got.State != view.Active {
				t.Errorf("after %s: version %d, %v", c.what, got.Record.Version, got.State)
			}
			if got := len(r.Unmerged()) > 0; got != c.unmerged {
				t.Errorf("after %s: unmerged is %v", c.what, got)
			}
		}
		if got := r.Ahead(); len(got) != 1 || got["s"] != version { // the equal one was seen, and is lost again
			t.Errorf("ahead of the store: %v", got)
		}
		next := issued(version+1, time.Now())
		r.see("s", next)
		if got := r.Token("s").Read(); got.Record.Version != version+1 || got.Local || got.Record.Value != next.Value || len(r.Unmerged()) > 0 {
			t.Errorf("version %d, local %v, want the committed one", got.Record.Version, got.Local)
		}
	})
}

// An operator's forced refresh kills every other value; a replica that was cut off has not heard of it.
func TestALocalValueIsInDoubtAfterAForcedAttemptThatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name   string
			forced time.Duration // after the fetch alone
			want   view.State
		}{
			{"after the fetch", time.Minute, view.Suspect},
			{"around the fetch", -time.Minute, view.Suspect},
			{"long before the fetch", -time.Hour, view.Active},
		} {
			r, _, version := alone(t)
			missed := issued(5, time.Now())
			missed.Spent.ForcedAt = time.Now().Add(c.forced)
			r.see("s", missed)
			if got := r.Token("s").Read(); got.State != c.want || got.Record.Version != version {
				t.Errorf("forced %s: version %d is %v, want the local one to be %v", c.name, got.Record.Version, got.State, c.want)
			}
			after := missed
			after.Floor = version
			r.see("s", after)
			if got := r.Token("s").Read().State; got != c.want {
				t.Errorf("forced %s: %v after the floor, want %v still", c.name, got, c.want)
			}
			r.see("s", issued(version+1, time.Now()))
			if got := r.Token("s").Read().State; got != view.Active {
				t.Errorf("forced %s: %v after the next commit", c.name, got)
			}
		}
	})
}

func TestALocalValueIsNotPromisedWhileAForcedAttemptIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, held, version := alone(t)
		begun := held
		begun.Pending = &token.Intent{Attempt: "forced", Forced: true}
		r.see("s", begun)
		if got := r.Token("s").Read(); got.State != view.Suspect || got.Record.Version != version {
			t.Errorf("version %d is %v, want the local one to be suspect", got.Record.Version, got.State)
		}
	})
}

// The life of what was fetched alone is counted by the monotonic clock, which a wall clock that is set back does not stretch.
func TestALocalLifeIsNotStretchedByTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := time.Duration(0)
		c := clock.FromSource(func() (time.Duration, time.Time) { now := time.Now(); return now.Sub(time.Unix(0, 0)), now.Add(wall) })
		r := newReplica(t, c, stable("s"))
		rec := issued(4, time.Now())
		r.load(map[string]token.Record{"s": rec})
		time.Sleep(time.Hour)
		if _, ok := r.Token("s").ServeLocal("", rec.Value, c.Read(), 10*time.Minute); !ok { // the upstream says that less is left
			t.Fatal("not served")
		}
		r.see("s", rec) // the record still tells of the whole life
		wall = -time.Hour
		r.sync()
		if got := r.Token("s").Read().Nominal; got > 10*time.Minute {
			t.Errorf("%v are left, want no more than the 10m0s that the upstream stated", got)
		}
	})
}

func TestARestartedReplicaServesWhatItsPredecessorHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, version := alone(t)
		time.Sleep(time.Minute)
		heir := newReplica(t, clock.New(), stable("s"), classic("t"), stable("new"))
		heir.Restore(r.Held())
		if !heir.Filled() {
			t.Error("there is something to serve from")
		}
		heir.must("s", view.Active, life-time.Minute-time.Second-view.DefaultSkew)
		if got := heir.Token("s").Read(); got.Record.Version != version || !got.Local || heir.Token("s").Version() != 4 {
			t.Errorf("version %d, local %v, of the store's %d", got.Record.Version, got.Local, heir.Token("s").Version())
		}
		if got := heir.Token("t").Read(); got.State == view.Active || got.Record.Version != 1 { // rotated away meanwhile, perhaps
			t.Errorf("the rotating token is %v in version %d", got.State, got.Record.Version)
		}
		if diff := cmp.Diff(r.Held(), heir.Held(), cmpopts.SortSlices(func(a, b view.Held) bool { return a.Name < b.Name }),
			cmp.Comparer(func(a, b token.Secret) bool { return a == b })); diff != "" {
			t.Errorf("held (-predecessor +heir):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int64{"s": version}, heir.Unmerged()); diff != "" {
			t.Errorf("unmerged (-want +got):\n%s", diff)
		}
		heir.load(map[string]token.Record{"s": issued(3, time.Now().Add(-time.Hour)), "t": issued(2, time.Now())})
		if diff := cmp.Diff(map[string]int64{"s": 4}, heir.Ahead()); diff != "" {
			t.Errorf("the store lost (-want +got):\n%s", diff)
		}
		if got := heir.Token("t").Read().Record.Version; got != 2 {
			t.Errorf("the rotating token stays at version %d, want the store's", got)
		}
		heir.Restore([]view.Held{{Name: "t", Record: issued(9, time.Now()), Seen: 9}})
		if got := heir.Token("t").Read().Record.Version; got != 2 {
			t.Errorf("version %d was restored over what was loaded", got)
		}
	})
}

// What was unsettled when the predecessor died may have been settled either way.
func TestARestoredTokenThatWasUnsettledIsNotPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, spec := range []view.Spec{stable("s"), classic("s")} {
			rec := issued(4, time.Now())
			rec.Doubt = true
			heir := newReplica(t, clock.New(), spec)
			heir.Restore([]view.Held{{Name: "s", Record: rec, Seen: 4}})
			if got := heir.Token("s").Read().State; got != view.Suspect {
				t.Errorf("a %s token in doubt is %v, want suspect", spec.Traits.Kind, got)
			}
		}
	})
}
