package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
	"github.com/tokenbroker/tokenbroker/test/robustness/fault"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

func TestWhatMutantsNeedIsInTheCatalogue(t *testing.T) {
	points, err := build.Failpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	catalogue := fault.Catalogue(times(), time.Minute, points, false)
	for _, m := range build.Mutants() {
		if _, err := fault.Select(catalogue, faultsOf(m)); err != nil {
			t.Errorf("mutant %q: %v", m.Name, err)
		}
	}
	if _, err := fault.Select(catalogue, names(handful)); err != nil {
		t.Error(err)
	}
}

func TestFindingCountsOnceItLasts(t *testing.T) {
	broken := func(what string) judge.Verdict {
		return judge.Verdict{Checks: []judge.Check{{Name: "S1", Violated: 1, Violations: []judge.Finding{{What: what}}}}}
	}
	tr := newTrail(nil)
	for _, step := range []struct {
		at   time.Duration
		what judge.Verdict
		hot  bool
	}{
		{0, broken("a"), false},
		{6 * time.Second, judge.Verdict{}, false},
		{12 * time.Second, broken("a"), false}, // it was gone in between
		{18 * time.Second, broken("b"), false},
		{24 * time.Second, broken("b"), false},
		{30 * time.Second, broken("b"), true},
	} {
		if tr.follow(step.at, step.what); tr.hot != step.hot {
			t.Errorf("at %v hot is %v", step.at, tr.hot)
		}
	}
}

func TestInjectionWithTwoEffectsIsCountedOnce(t *testing.T) {
	got := count([]history.Event{
		{Kind: history.Fault, Actor: fault.Actor, Reason: "x", Code: history.EffectHeld, Sent: 1, Received: 5},
		{Kind: history.Fault, Actor: fault.Actor, Reason: "x", Code: history.EffectKilled, Sent: 3, Received: 5},
		{Kind: history.Fault, Actor: fault.Actor, Reason: "x", Code: history.EffectHeld, Received: 9, Detail: fault.ErrMoot.Error() + ": nobody"},
		{Kind: history.Fault, Actor: "somebody else", Reason: "y", Received: 9},
		{Kind: history.Get, Actor: fault.Actor, Reason: "z"},
	})
	if want := []strikes{{Name: "x", N: 1, Moot: 1}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCommandRepeatsTheRun(t *testing.T) {
	f := flags{plan: plan{seed: 7, duration: time.Minute, calm: 3 * time.Second}, faults: "a,b*", mutant: "no-fence"}
	if got, want := f.command(), "go run ./test/robustness -seed 7 -duration 1m0s -calm 3s -mutant no-fence -faults 'a,b*'"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestExitCodeTellsMisuse(t *testing.T) {
	for _, args := range [][]string{{"-duration", "x"}, {"surplus"}} {
		if code := start(args, io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	var errs strings.Builder
	if code := start([]string{"-mutant", "nobody"}, io.Discard, &errs); code != exitVoid || !strings.Contains(errs.String(), `"nobody"`) {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
}
