package view_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestConfigureRefusesWhatCannotBeServedAndChangesNothing(t *testing.T) {
	tooShort := classic("t")
	tooShort.Timing.W = tooShort.Traits.Overlap
	for name, test := range map[string]struct {
		spec view.Spec
		want error
	}{
		"bad name":                       {stable("Bad"), token.ErrBadName},
		"no timing":                      {view.Spec{Name: "t", Traits: classic("t").Traits}, token.ErrBadTiming},
		"W as long as the overlap":       {tooShort, token.ErrBadTiming},
		"a timing for another's overlap": {view.Spec{Name: "t", Traits: token.Traits{Rotating: true, Overlap: time.Minute}, Timing: classic("t").Timing}, token.ErrBadTiming},
	} {
		v := view.New(view.Config{Clock: clock.New()})
		if err := v.Configure([]view.Spec{stable("old")}); err != nil {
			t.Fatal(err)
		}
		if err := v.Configure([]view.Spec{stable("good"), test.spec}); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
		if diff := cmp.Diff([]string{"old"}, v.Names()); diff != "" {
			t.Errorf("%s: the names of the tokens (-want +got):\n%s", name, diff)
		}
	}
}

func TestAViewKnowsItsTokensByName(t *testing.T) {
	v := view.New(view.Config{Clock: clock.New()})
	if v.Token("a") != nil || len(v.Names()) != 0 {
		t.Error("a new view knows tokens")
	}
	if err := v.Configure([]view.Spec{stable("c"), classic("a"), stable("b")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, v.Names()); diff != "" {
		t.Errorf("the names of the tokens (-want +got):\n%s", diff)
	}
	if got := v.Token("a"); got.Name() != "a" || got.Traits() != classic("a").Traits {
		t.Errorf("token a is %s with %+v", got.Name(), got.Traits())
	}
	if v.Token("d") != nil {
		t.Error("a token exists that was not configured")
	}
}

func TestATokenThatStaysKeepsWhatIsKnownOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		r := newReplica(t, c, classic("t"))
		rec := issued(2, time.Now())
		r.load(map[string]token.Record{"t": rec})
		r.sync()
		r.see("t", begun(rec, "a"))
		held := r.Token("t")
		if err := r.Configure([]view.Spec{stable("s"), classic("t")}); err != nil {
			t.Fatal(err)
		}
		if r.Token("t") != held {
			t.Error("the token was replaced")
		}
		r.must("t", view.Active, w)
	})
}

func TestATokenWhoseUpstreamChangedIsTakenAsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		faster := classic("t")
		faster.Timing.W /= 2
		faster.Timing.P, faster.Timing.D = faster.Timing.P/2, faster.Timing.D/2
		for name, spec := range map[string]view.Spec{"idempotent now": stable("t"), "another timing": faster} {
			r := newReplica(t, c, classic("t"))
			rec := issued(2, time.Now())
			r.load(map[string]token.Record{"t": rec})
			r.sync()
			old := r.Token("t")
			changed := old.Changed()
			if err := r.Configure([]view.Spec{spec}); err != nil {
				t.Fatal(err)
			}
			if !isClosed(changed) || !old.Removed() || r.Token("t").Version() != 0 {
				t.Errorf("%s: the old token lives on", name)
			}
			r.load(map[string]token.Record{"t": begun(rec, "a")})
			if got, want := r.Token("t").Read().State == view.Active, !spec.Traits.Rotating; got != want {
				t.Errorf("%s: found pending, it is active: %v, want %v", name, got, want)
			}
		}
	})
}
