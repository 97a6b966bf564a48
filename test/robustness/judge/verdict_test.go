package judge_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

func TestACheckWithNothingToJudgeHasNotPassed(t *testing.T) {
	t.Parallel()
	v := judge.Judge(newScene().Case)
	if v.Passed() || slices.ContainsFunc(v.Checks, judge.Check.Passed) || !strings.Contains(v.String(), "NOTHING TO JUDGE") {
		t.Errorf("an empty history passed:\n%s", v)
	}
}

func TestAllViolationsAreCountedAndTheFirstShown(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.Show = 3
	for i := range 10 {
		s.get(float64(i), "r1", stable, 1, "made up", 5)
	}
	k := judge.Judge(s.Case).Check("S1")
	if k.Judged != 10 || k.Violated != 10 || len(k.Violations) != 3 {
		t.Errorf("%+v", k)
	}
	for _, part := range []string{"never issued", "r1", "stable", "v1", "made up", "caller"} {
		if !strings.Contains(k.Violations[0].What, part) {
			t.Errorf("%q does not tell %q", k.Violations[0].What, part)
		}
	}
	if len(k.Violations[0].Events) != 1 || k.Violations[0].Events[0].Answer.Value != "made up" {
		t.Errorf("the event is missing: %+v", k.Violations[0])
	}
	if text := judge.Judge(s.Case).String(); !strings.Contains(text, "and 7 more") {
		t.Errorf("nothing says that there are more:\n%s", text)
	}
}

func TestExclusionsAreCountedByCauseTheCommonestFirst(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.Show = 1
	s.fails(1, "r1", "Unavailable", "NO_TOKEN_YET")
	for range 3 {
		s.fails(2, "r1", "Canceled", "")
	}
	x := judge.Judge(s.Case).Check("A1").Excluded
	if len(x) != 2 || x[0].N != 3 || x[0].Cause != "the caller went away" || len(x[0].Cases) != 1 || x[1].N != 1 {
		t.Errorf("%+v", x)
	}
}

func TestAVerdictIsReadByMachines(t *testing.T) {
	t.Parallel()
	v := judge.Judge(newWorld(1, false))
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var back judge.Verdict
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, back); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(v.String(), back.String()); diff != "" {
		t.Errorf("as text (-want +got):\n%s", diff)
	}
}

func TestTheLongestTimeWithoutAToken(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.get(10, "r1", stable, 1, "a", 5)
	s.get(11, "r1", stable, 1, "a", 0)
	s.fails(12, "r1", "Unavailable", "EXPIRED")
	s.get(12.5, "r1", classic, 1, "k", 5) // another token does not end it
	s.fails(13, "r1", "Unavailable", "EXPIRED").MinTTL = 1
	s.get(14.99, "r1", stable, 1, "a", 0)
	s.get(15.99, "r1", stable, 1, "a", 5)
	s.fails(16, "r2", "Unavailable", "EXPIRED") // while it is down
	s.fails(30, "r2", "Unavailable", "EXPIRED")
	s.fails(31.99, "r2", "Unavailable", "EXPIRED")
	s.restart(15, 17, "r2")
	f := judge.Judge(s.Case).Figures
	if f.Unserved["r1"] != seconds(3) || f.Unpromised["r1"] != seconds(5) {
		t.Errorf("r1 was without a token for %v, without a promise for %v", f.Unserved["r1"], f.Unpromised["r1"])
	}
	if f.Unserved["r2"] != seconds(2) {
		t.Errorf("r2 was without a token for %v", f.Unserved["r2"])
	}
}

func TestFiguresCountWhatWasAnsweredAndWhatWasBroken(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.get(10, "r1", stable, 1, "a", 5)
	s.get(11, "r1", stable, 1, "a", 0)
	s.fails(12, "r1", "Unavailable", "EXPIRED")
	s.watched(1, 2, "r1", 1, "a", 5)
	s.fault(1, 2, "r1", history.EffectCut)
	s.fault(3, 4, "", history.EffectCut)
	f := judge.Judge(s.Case).Figures
	if diff := cmp.Diff(map[string]int{"get active": 1, "get suspect": 1, "get Unavailable": 1, "watched active": 1}, f.Answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"cut": 2}, f.Faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestWhatTheJudgeDoesNotUnderstandIsNotOverlooked(t *testing.T) {
	t.Parallel()
	for _, e := range []history.Event{
		{Kind: "rumour"},
		{Kind: history.Fault, Code: "earthquake"},
		{Kind: history.Process, Replica: "r1", Code: "dozing"},
		{Kind: history.Process, Code: history.ProcessStarted},
		{Kind: history.Get, Token: stable},
		{Kind: history.Get, Replica: "r9", Token: stable},
		{Kind: history.Get, Replica: "r1", Token: "unheard-of"},
		{Kind: history.Get, Replica: "r1", Token: stable, Sent: 2, Received: 1},
	} {
		s := newScene()
		s.add(e)
		s.expect(t, "H", 1, 0)
	}
	s := newScene()
	s.add(history.Event{Kind: history.Fault, Code: history.EffectCut, Sent: 2}) // never healed
	s.issue(stable, "a", 1, 2)
	s.expect(t, "H", 0, 0)
	s.issue("unheard-of", "b", 1, 2)
	s.issue(stable, "a", 1, 2)
	s.expect(t, "H", 2, 0)
}

func TestTheReportSaysWhatItsNumbersMean(t *testing.T) {
	t.Parallel()
	s := newScene()
	words := []string{"get Unavailable: the broker was down"}
	for _, word := range words {
		if text := judge.Judge(s.Case).String(); strings.Contains(text, word) {
			t.Errorf("it explains %q, which did not happen:\n%s", word, text)
		}
	}
	s.add(history.Event{Kind: history.Get, Replica: "r1", Token: stable, Code: "Unavailable", Sent: seconds(1), Received: seconds(2)})
	s.fault(3, 4, "r1", history.EffectCut)
	text := judge.Judge(s.Case).String()
	for _, word := range append(words, "effects of faults: cut 1 ", "longest times at a replica that ran", "  r1: without a token 1s, without a promise 1s\n") {
		if !strings.Contains(text, word) {
			t.Errorf("it does not say %q:\n%s", word, text)
		}
	}
}
