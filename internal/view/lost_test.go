package view_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// losses are what a replica that holds version 2 may find after the store was restored, emptied or damaged.
func losses(rec token.Record) map[string]token.Record {
	noValue := rec
	noValue.Value = token.Secret{}
	return map[string]token.Record{
		"a lower version":   issued(1, rec.IssuedAt.Add(-time.Hour)),
		"nothing":           {},
		"the value is gone": noValue,
		"unreadable":        {Doubt: true},
	}
}

func TestALowerVersionIsNotAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		for name, lost := range losses(issued(2, time.Now())) {
			r := newReplica(t, c, classic("t"), stable("s"))
			rec := issued(2, time.Now())
			for how, tell := range map[string]func(){
				"watch": func() { r.see("t", lost); r.see("s", lost) },
				"load":  func() { r.load(map[string]token.Record{"t": lost, "s": lost}) },
				"older load": func() {
					floor := r.Revision()
					if !r.Load(floor, 3, 2, []view.Change{{Name: "t", Record: lost}, {Name: "s", Record: lost}}) {
						t.Error("a store that went back was ignored")
					}
				},
			} {
				r.load(map[string]token.Record{"t": rec, "s": rec})
				tell()
				for _, token := range []string{"t", "s"} {
					held := r.Token(token)
					if got := held.Read().Record; got.Version != 2 || got.Value != rec.Value || held.Version() != 2 {
						t.Errorf("%s by %s: %s went to version %d", name, how, token, got.Version)
					}
				}
			}
		}
	})
}

func TestLostDataFreezesARotatingToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		for name, lost := range losses(issued(2, time.Now())) {
			r := newReplica(t, c, classic("t"))
			r.load(map[string]token.Record{"t": issued(2, time.Now())})
			r.sync()
			time.Sleep(time.Second)
			r.see("t", lost)
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

// What was in doubt before the store lost the reason for it is in doubt still.
func TestLostDataEndsNoDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		for name, change := range map[string]func(token.Record) token.Record{
			"forced":     func(rec token.Record) token.Record { return forced(rec, "a") },
			"doubt":      inDoubt,
			"both":       func(rec token.Record) token.Record { return begun(forced(rec, "a"), "b") },
			"unreadable": func(token.Record) token.Record { return token.Record{Doubt: true} },
		} {
			r := newReplica(t, c, stable("s"))
			rec := issued(2, time.Now())
			r.load(map[string]token.Record{"s": rec})
			r.sync()
			r.see("s", change(rec))
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
