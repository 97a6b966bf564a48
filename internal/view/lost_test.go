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

// losses are what a replica that holds version 2 may find after the store was restored, emptied or damaged.
func losses(name string, rec token.Record) map[string]view.Change {
	noValue := rec
	noValue.Value = token.Secret{}
	anew := issued(rec.Version, rec.IssuedAt.Add(time.Minute))
	anew.Value = token.NewSecret("another value of the same version")
	return map[string]view.Change{
		"its version anew":  {Name: name, Record: anew},
		"a lower version":   {Name: name, Record: issued(1, rec.IssuedAt.Add(-time.Hour))},
		"nothing":           {Name: name},
		"the value is gone": {Name: name, Record: noValue},
		"unreadable":        {Name: name, Unreadable: true},
	}
}

func TestALowerVersionIsNotAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := issued(2, time.Now())
		for _, spec := range []view.Spec{classic("t"), stable("t")} {
			for name, lost := range losses("t", rec) {
				r := newReplica(t, clock.New(), spec)
				for how, tell := range map[string]func() bool{
					"watch":      func() bool { r.tell(lost); return true },
					"load":       func() bool { r.revision++; return r.Load(r.Revision(), r.revision, r.revision, []view.Change{lost}) },
					"older load": func() bool { return r.Load(r.Revision(), 3, 2, []view.Change{lost}) },
				} {
					r.load(map[string]token.Record{"t": rec})
					if !tell() {
						t.Errorf("%s by %s was ignored", name, how)
					}
					held := r.Token("t")
					if got := held.Read().Record; got.Version != 2 || got.Value != rec.Value || held.Version() != 2 {
						t.Errorf("%s by %s: went to version %d", name, how, got.Version)
					}
				}
			}
		}
	})
}

func TestLostDataFreezesARotatingToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		for name, lost := range losses("t", issued(2, time.Now())) {
			r := newReplica(t, c, classic("t"))
			r.load(map[string]token.Record{"t": issued(2, time.Now())})
			r.sync()
			time.Sleep(time.Second)
			r.tell(lost)
			for range 2 {
				time.Sleep(time.Second)
				r.sync()
			}
			r.must("t", view.Active, w-3*time.Second)
			time.Sleep(w)
			r.sync()
			r.must("t", view.Suspect, 0)
			if t.Failed() {
				t.Fatal(name)
			}
		}
	})
}

// Whoever fetches, an idempotent upstream lets the token live to its end.
func TestLostDataTakesNothingFromAnIdempotentToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, stable("s"))
		r.load(map[string]token.Record{"s": issued(2, time.Now())})
		r.sync()
		r.see("s", token.Record{})
		r.must("s", view.Active, life-view.DefaultSkew)
		r.see("s", issued(1, time.Now()))
		r.must("s", view.Active, life-view.DefaultSkew)
	})
}

func TestAVersionThatIsUsedAnewIsToldOfUntilTheStoreGoesAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, spec := range []view.Spec{classic("t"), stable("t")} {
			rec := issued(2, time.Now())
			r := newReplica(t, clock.New(), spec)
			r.load(map[string]token.Record{"t": rec})
			anew := losses("t", rec)["its version anew"]
			r.tell(anew)
			if diff := cmp.Diff(map[string]int64{"t": 2}, r.Unmerged()); diff != "" {
				t.Errorf("with another value in the store the leader is told of (-want +got):\n%s", diff)
			}
			anew.Record.Floor = 2
			r.tell(anew)
			if got := r.Unmerged(); len(got) != 0 || r.Token("t").Read().Record.Value != rec.Value {
				t.Errorf("once the leader knows, it is told of %v, and version 2 is %v", got, r.Token("t").Read().Record.Value)
			}
			r.see("t", issued(3, time.Now()))
			if got := r.Token("t").Read(); got.Record.Version != 3 || got.Record.Value == rec.Value || len(r.Unmerged()) != 0 {
				t.Errorf("version %d is served, and the leader is told of %v", got.Record.Version, r.Unmerged())
			}
		}
	})
}

// What was in doubt before the store lost the reason for it is in doubt still.
func TestLostDataEndsNoDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		rec := issued(2, time.Now())
		for name, change := range map[string]view.Change{
			"forced":     {Name: "s", Record: forced(rec, "a")},
			"doubt":      {Name: "s", Record: inDoubt(rec)},
			"both":       {Name: "s", Record: begun(forced(rec, "a"), "b")},
			"unreadable": {Name: "s", Unreadable: true}, // it may have said that the token is dead
		} {
			r := newReplica(t, c, stable("s"))
			r.load(map[string]token.Record{"s": rec})
			r.sync()
			r.tell(change)
			r.must("s", view.Suspect, 0)
			r.see("s", token.Record{})
			r.must("s", view.Suspect, 0)
			r.see("s", issued(1, time.Now()))
			r.must("s", view.Suspect, 0)
			r.load(nil)
			r.must("s", view.Suspect, 0)
			r.see("s", issued(3, time.Now()))
			if got := r.Token("s").Read(); got.State != view.Active || t.Failed() {
				t.Fatalf("%s: version 3 is %v", name, got.State)
			}
		}
	})
}

func TestAHigherVersionEndsWhatLostDataBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := issued(2, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		r.load(nil)
		// The leader raises the version to what it has seen, waits, and fetches.
		raised := token.Record{Version: 2, Doubt: true}
		r.see("t", raised)
		time.Sleep(w)
		r.sync()
		r.must("t", view.Suspect, 0)
		pending := begun(raised, "a")
		r.see("t", pending)
		if got := r.Token("t").Read().Record; got.Value != rec.Value || got.Pending == nil {
			t.Errorf("while a fetch is under way the record is %+v", got)
		}
		r.see("t", committed(pending, time.Now()))
		r.must("t", view.Active, w)
		r.mustEnd("t", life)
		if got := r.Token("t").Version(); got != 3 {
			t.Errorf("version %d, want 3", got)
		}
	})
}

func TestAfterTheStoreWentBackItIsFollowedFromThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		r.load(map[string]token.Record{"t": issued(2, time.Now())})
		r.sync()
		if !r.Load(r.Revision(), 10, 9, nil) {
			t.Fatal("the load was ignored")
		}
		if got := r.Revision(); got != 10 {
			t.Errorf("the view is at revision %d, want 10", got)
		}
		if ok, _ := r.Applied(10); ok {
			t.Error("the view says that it has applied a head that it knows from the lost store only")
		}
		r.Apply(11, 11, []view.Change{{Name: "t", Record: issued(3, time.Now())}})
		if got := r.Token("t").Version(); got != 3 {
			t.Errorf("version %d, want 3", got)
		}
		if !r.Synced(c.Read(), 11) {
			t.Error("a proof was refused")
		}
		if !r.Load(r.Revision(), 3, 0, nil) { // emptied
			t.Fatal("the load was ignored")
		}
		if ok, _ := r.Applied(1); ok {
			t.Error("the view says that it has applied a head, and there is none")
		}
	})
}

func TestVersionsNeverGoBackWhateverTheStoreSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		highest := int64(0)
		for _, version := range []int64{1, 3, 2, 3, 0, 4, 1, 5, 5, 2} {
			rec := issued(version, time.Now())
			if version == 0 {
				rec = token.Record{}
			}
			r.see("t", rec)
			highest = max(highest, version)
			if got := r.Token("t").Read().Record; got.Version != highest || got.Value != value(highest) {
				t.Errorf("after version %d the replica holds %d, want %d", version, got.Version, highest)
			}
		}
	})
}

func TestVersionsThatTheStoreLostAreKnownAsAhead(t *testing.T) {
	r := newReplica(t, clock.New(), classic("t"), stable("s"))
	rec := issued(2, time.Now())
	noValue := rec
	noValue.Value = token.Secret{}
	mustBeAhead := func(why string, want map[string]int64) {
		t.Helper()
		if diff := cmp.Diff(want, r.Ahead(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: ahead of the store (-want +got):\n%s", why, diff)
		}
	}
	mustBeAhead("nothing is known", nil)
	r.load(map[string]token.Record{"t": rec, "s": rec})
	mustBeAhead("nothing was lost", nil)
	r.see("t", issued(1, time.Now()))
	mustBeAhead("t was restored from a backup", map[string]int64{"t": 2})
	r.load(map[string]token.Record{"t": issued(1, time.Now())})
	mustBeAhead("and s deleted", map[string]int64{"t": 2, "s": 2})
	r.see("s", noValue)
	mustBeAhead("the leader raised the version of s", map[string]int64{"t": 2})
	r.see("t", issued(3, time.Now()))
	mustBeAhead("the leader went on", nil)
}

// The leader may well read it. A report of the version would be a report that its value is dead.
func TestARecordThatCannotBeReadIsNotAVersionLost(t *testing.T) {
	r := newReplica(t, clock.New(), classic("t"))
	r.load(map[string]token.Record{"t": issued(2, time.Now())})
	r.tell(view.Change{Name: "t", Unreadable: true})
	if got := r.Ahead(); len(got) != 0 {
		t.Errorf("ahead of what cannot be read: %v", got)
	}
}
