package fault_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/test/robustness/fault"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

func times() fault.Times {
	return fault.Times{Protocol: token.TimingFor(10 * time.Second), Life: 80 * time.Second, Overlap: 10 * time.Second, SessionTTL: 2 * time.Second}
}

func points() []string {
	return []string{"refreshBeforeBegin", "refreshBeforeWrite", "refreshBeforeCommit", "storeAnswerLost"}
}

func catalogue() []fault.Fault { return fault.Catalogue(times(), time.Hour, points(), true) }

func TestEveryFaultIsWhole(t *testing.T) {
	effects := []string{
		history.EffectKilled, history.EffectPaused, history.EffectHeld, history.EffectCut, history.EffectVanished, history.EffectSkewed,
		history.EffectUpstream,
	}
	names := map[string]bool{}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, f := range catalogue() {
		if f.Name == "" || f.About == "" || names[f.Name] || f.Weight <= 0 || f.Breaks == 0 || f.Inject == nil || len(f.Effects) == 0 {
			t.Errorf("fault %q lacks something, or is there twice: %+v", f.Name, f)
		}
		names[f.Name] = true
		for _, e := range f.Effects {
			if !slices.Contains(effects, e) {
				t.Errorf("fault %q has the unknown effect %q", f.Name, e)
			}
		}
		for range 100 {
			if d := f.Lasts(times(), rng); d < 0 || d > 5*time.Minute {
				t.Fatalf("fault %q lasts %v", f.Name, d)
			}
		}
	}
}

func TestShortRunsLackTheFaultsThatTakeLong(t *testing.T) {
	long, short := catalogue(), fault.Catalogue(times(), time.Minute, points(), true)
	if len(short) >= len(long) {
		t.Errorf("%d faults in a minute, %d in an hour", len(short), len(long))
	}
	if slices.ContainsFunc(short, func(f fault.Fault) bool { return f.Name == "wechat-down" }) {
		t.Error("WeChat is to be down for several lives of a token in a run of a minute")
	}
}

func TestNobodyVanishesWithoutNamespaces(t *testing.T) {
	without := fault.Catalogue(times(), time.Hour, points(), false)
	if _, err := fault.Select(without, []string{"vanish-*"}); !errors.Is(err, fault.ErrUnknown) || len(without) == 0 {
		t.Errorf("without namespaces, faults of a site with namespaces: %v, and %d in all", err, len(without))
	}
}

func TestFaultsAreSelectedByName(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  []string
	}{
		{[]string{"restart"}, []string{"restart"}},
		{[]string{"pause-at-refreshBeforeB*", "restart"}, []string{"pause-at-refreshBeforeBegin", "restart"}},
		{[]string{"clock-*"}, []string{"clock-wrong", "clock-jumps"}},
		{[]string{"pause-etcd-*"}, []string{"pause-etcd-leader", "pause-etcd-follower"}},
	} {
		got, err := fault.Select(catalogue(), c.names)
		var names []string
		for _, f := range got {
			names = append(names, f.Name)
		}
		if err != nil || !slices.Equal(names, c.want) {
			t.Errorf("%v selects %v, %v; want %v", c.names, names, err, c.want)
		}
	}
	if got, err := fault.Select(catalogue(), nil); err != nil || len(got) != len(catalogue()) {
		t.Errorf("no names select %d faults, %v", len(got), err)
	}
	for _, name := range []string{"restar", "x*", ""} {
		if _, err := fault.Select(catalogue(), []string{name}); !errors.Is(err, fault.ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
