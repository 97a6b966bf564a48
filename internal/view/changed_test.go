package view_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestChangedTellsOfEveryNewRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), classic("other"))
		rec := issued(1, time.Now())
		for name, change := range map[string]func(){
			"watch":     func() { r.see("t", begun(rec, "a")) },
			"load":      func() { r.load(map[string]token.Record{"t": rec}) },
			"lost data": func() { r.see("t", token.Record{}) },
		} {
			changed := r.Token("t").Changed()
			if isClosed(changed) {
				t.Fatal("told before anything changed")
			}
			change()
			if !isClosed(changed) {
				t.Errorf("%s changed the record and did not tell", name)
			}
		}
		changed := r.Token("t").Changed()
		r.see("other", rec)
		r.Apply(r.revision+1, 0, nil)
		if isClosed(changed) {
			t.Error("told of what changed elsewhere")
		}
	})
}

// Whoever takes the channel before Read finds what it was told of.
func TestTheChangeIsVisibleWhenItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		told := make(chan int64)
		go func() {
			for held := r.Token("t"); ; {
				changed := held.Changed()
				version := held.Read().Record.Version
				if version > 0 {
					told <- version
				}
				if version == 3 {
					close(told)
					return
				}
				<-changed
			}
		}()
		for version := int64(1); version <= 3; version++ {
			r.see("t", issued(version, time.Now()))
			if got := <-told; got != version {
				t.Errorf("told of version %d, want %d", got, version)
			}
		}
		<-told
	})
}

func TestAnOrdinaryProofTellsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), stable("s"))
		r.load(map[string]token.Record{"t": issued(1, time.Now()), "s": issued(1, time.Now())})
		r.sync()
		rotating, idempotent := r.Token("t").Changed(), r.Token("s").Changed()
		for range 20 {
			time.Sleep(time.Second)
			r.sync()
		}
		if isClosed(rotating) || isClosed(idempotent) {
			t.Error("an ordinary proof woke those who wait for a change")
		}
	})
}

func TestTheRenewalOfLapsedPromisesIsTold(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	r := newReplica(t, c, classic("t"))
	r.load(map[string]token.Record{"t": issued(1, c.Wall())})
	for _, lapse := range []struct {
		name string
		let  func()
	}{
		{"the first proof", func() {}},
		{"a proof after a while out of sync", func() { hands.pass(view.DefaultSyncWindow) }},
		{"a proof after a jump", func() { hands.move(0, time.Minute) }},
		{"a proof after W", func() { hands.pass(w) }},
	} {
		lapse.let()
		changed := r.Token("t").Changed()
		r.sync()
		if !isClosed(changed) {
			t.Errorf("%s is not told", lapse.name)
		}
		if got := r.Token("t").Read(); got.State != view.Active || got.TTL != w {
			t.Errorf("%s leaves the token %v for %v", lapse.name, got.State, got.TTL)
		}
	}
}

// With a simulated upstream W may be shorter than the time for which a replica counts as in sync.
func TestTheRenewalOfAShortPromiseIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		spec := classic("t")
		spec.Traits.Overlap = 5 * time.Second
		spec.Timing = token.TimingFor(spec.Traits.Overlap)
		r := newReplica(t, c, spec)
		r.load(map[string]token.Record{"t": issued(1, time.Now())})
		r.sync()
		time.Sleep(spec.Timing.W)
		r.must("t", view.Suspect, 0)
		changed := r.Token("t").Changed()
		r.sync()
		r.must("t", view.Active, spec.Timing.W)
		if !isClosed(changed) {
			t.Error("the token became active again, and nobody was told")
		}
	})
}

func TestWaitersOnARemovedTokenAreWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"), classic("stays"))
		r.load(map[string]token.Record{"t": issued(1, time.Now()), "stays": issued(1, time.Now())})
		removed, stays := r.Token("t"), r.Token("stays")
		changed, other := removed.Changed(), stays.Changed()
		if removed.Removed() {
			t.Error("a token counts as removed that is configured")
		}
		if err := r.Configure([]view.Spec{classic("stays")}); err != nil {
			t.Fatal(err)
		}
		if !isClosed(changed) || !removed.Removed() || r.Token("t") != nil {
			t.Error("a removed token lives on")
		}
		if isClosed(other) || stays.Removed() || r.Token("stays") != stays {
			t.Error("a token that stayed was disturbed")
		}
		// The removed token is left alone from now on, whatever comes.
		r.see("t", issued(2, time.Now()))
		r.sync()
		if err := r.Configure([]view.Spec{classic("t"), classic("stays")}); err != nil {
			t.Fatal(err)
		}
		if again := r.Token("t"); again == removed || again.Version() != 0 || !removed.Removed() {
			t.Error("a token that was removed came back")
		}
	})
}
