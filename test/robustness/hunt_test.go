package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// found is the verdict by which some checks found a broken promise.
func found(checks ...string) judge.Verdict {
	var v judge.Verdict
	for _, name := range []string{"S1", "M", "L"} {
		v.Checks = append(v.Checks, judge.Check{Name: name, Judged: 1})
	}
	for i := range v.Checks {
		for _, name := range checks {
			if v.Checks[i].Name == name {
				v.Checks[i].Violated, v.Checks[i].Violations = 1, []judge.Finding{{What: "broken"}}
			}
		}
	}
	return v
}

func TestMutantIsCaughtByWhatItsMechanismGuardsAndByNothingElse(t *testing.T) {
	guards, crash := build.Mutant{Name: "m", Needs: build.Needs{Checks: []string{"S1", "L"}}}, errors.New("broker-1 crashed")
	for _, c := range []struct {
		name  string
		hunt  trophy
		says  string
		cause error
	}{
		{"one of them", trophy{mutant: guards, result: result{verdict: found("L")}}, "L", nil},
		{"and another", trophy{mutant: guards, result: result{verdict: found("S1", "M")}}, "S1, M", nil},
		{"another", trophy{mutant: guards, result: result{verdict: found("M")}}, "NOT CAUGHT, but for M", errBroken},
		{"nothing", trophy{mutant: guards, result: result{verdict: found()}}, "NOT CAUGHT", errBroken},
		{"a crash", trophy{mutant: guards, result: result{verdict: found(), crash: crash}}, "CRASHED", errBroken},
		{"a crash besides", trophy{mutant: guards, result: result{verdict: found("L"), crash: crash}}, "CRASHED, L", errBroken},
		{"no run", trophy{mutant: guards, err: errInterrupted}, "VOID", errInterrupted},
		{"the broker as it is", trophy{result: result{verdict: found()}}, "nothing, as it should be", nil},
		{"it is caught", trophy{result: result{verdict: found("M")}}, "CAUGHT BY M", errBroken},
		{"it crashed", trophy{result: result{verdict: found(), crash: crash}}, "CRASHED", errBroken},
	} {
		if says, err := c.hunt.outcome(); says != c.says || !errors.Is(err, c.cause) {
			t.Errorf("%s: %q, %v; want %q, %v", c.name, says, err, c.says, c.cause)
		}
	}
}

func TestHuntGoesOnUntilACheckOfItsOwnIsViolated(t *testing.T) {
	tr := newTrail([]string{"L"})
	for i := range 10 {
		if tr.follow(time.Duration(i)*lasting, found("M")); tr.hot {
			t.Fatal("it ended for a check that guards something else")
		}
	}
	tr.follow(10*lasting, found("M", "L"))
	if tr.follow(11*lasting, found("M", "L")); !tr.hot {
		t.Error("it goes on although its own check has been violated for long")
	}
}

func TestTableOfAHuntTellsWhatWasExpected(t *testing.T) {
	var out strings.Builder
	err := tabulate(flags{}, []trophy{
		{mutant: build.Mutant{Name: "m", Needs: build.Needs{Checks: []string{"S1", "L"}}}, seed: 3, result: result{verdict: found("L", "M")}},
	}, &out)
	if got := strings.Fields(out.String()); err != nil || !strings.Contains(strings.Join(got, " "), "m S1, L M, L") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestMutantsNameChecksOfTheJudge(t *testing.T) {
	v := judge.Judge(judge.Case{})
	for _, m := range build.Mutants() {
		for _, name := range m.Needs.Checks {
			if v.Check(name).Name != name {
				t.Errorf("mutant %q is to be caught by %q, which is no check", m.Name, name)
			}
		}
	}
}
