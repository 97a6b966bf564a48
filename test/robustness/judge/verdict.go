package judge

import (
	"slices"
	"strings"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Verdict is the judgement of a case.
type Verdict struct {
	Checks  []Check `json:"checks"`
	Figures Figures `json:"figures"`
}

// Passed reports whether all checks passed.
func (v Verdict) Passed() bool {
	return !slices.ContainsFunc(v.Checks, func(k Check) bool { return !k.Passed() })
}

// Check returns a check by its name: "H", "S1", "S2", "M", "A1", "A2", "Q1" or "L". The zero Check, which has not passed, if there is none.
func (v Verdict) Check(name string) Check {
	for _, k := range v.Checks {
		if k.Name == name {
			return k
		}
	}
	return Check{}
}

// Check is what came of one check.
type Check struct {
	Name string `json:"name"`
	// Promise is what is checked.
	Promise string `json:"promise"`
	// Judged is the number of things that were looked at, Violated how many of them break the promise.
	Judged   int `json:"judged"`
	Violated int `json:"violated"`
	// Violations are the first of them.
	Violations []Finding `json:"violations,omitempty"`
	// Excluded are those that would break the promise but for a cause which the protocol excludes, and those that cannot be judged.
	Excluded []Exclusion `json:"excluded,omitempty"`
}

// Finding is one thing that was found, in a line, and the events that it concerns.
type Finding struct {
	What   string          `json:"what"`
	Events []history.Event `json:"events,omitempty"`
}

// Exclusion is all that was excluded for one cause.
type Exclusion struct {
	Cause string `json:"cause"`
	N     int    `json:"n"`
	// Cases are the first of them.
	Cases []Finding `json:"cases"`
}

// Passed reports whether nothing broke the promise. A check that had nothing to judge has not passed.
func (k Check) Passed() bool { return k.Violated == 0 && k.Judged > 0 }

// tally is a check that is being made.
type tally struct {
	Check
	show int
}

func (c *court) check(name, promise string) *tally {
	return &tally{Check: Check{Name: name, Promise: promise}, show: c.Show}
}

// violate adds a violation.
func (k *tally) violate(what string, events ...*history.Event) {
	if k.Violated++; k.Violated <= k.show {
		k.Violations = append(k.Violations, finding(what, events))
	}
}

// exclude adds something that is excluded.
func (k *tally) exclude(cause, what string, events ...*history.Event) {
	i := slices.IndexFunc(k.Excluded, func(x Exclusion) bool { return x.Cause == cause })
	if i < 0 {
		i = len(k.Excluded)
		k.Excluded = append(k.Excluded, Exclusion{Cause: cause})
	}
	if k.Excluded[i].N++; k.Excluded[i].N <= k.show {
		k.Excluded[i].Cases = append(k.Excluded[i].Cases, finding(what, events))
	}
}

// done returns the check as it stands, the commonest causes of exclusion first.
func (k *tally) done() Check {
	slices.SortStableFunc(k.Excluded, func(a, b Exclusion) int { return b.N - a.N })
	return k.Check
}

func finding(what string, events []*history.Event) Finding {
	f := Finding{What: what}
	lines := make([]string, 0, len(events))
	for _, e := range events {
		f.Events = append(f.Events, *e)
		lines = append(lines, line(e))
	}
	if len(lines) > 0 {
		f.What += ": " + strings.Join(lines, "; ")
	}
	return f
}
