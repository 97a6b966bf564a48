package judge

import (
	"fmt"
	"strings"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// step is what a write did to a record.
type step string

// The steps that the protocol knows; see the documentation of internal/refresh. A leader that adopts an orphan makes a commit or an
// abort; one that drops an orphan, or notes a failure, changes nothing that is kept here.
const (
	begin   step = "begin"   // an attempt is announced
	commit  step = "commit"  // it brought a token
	abort   step = "abort"   // for certain it issued nothing
	note    step = "note"    // nothing but the write itself
	doubt   step = "doubt"   // an earlier leader's request was written late
	condemn step = "condemn" // the value is known to be dead
	floor   step = "floor"   // a replica served a version of its own making, and the value is not fit to go above it
	above   step = "above"   // a healthy value goes above such a version
	illegal step = "illegal" // anything else
)

// rules is what the steps of one record hang on.
type rules struct{ rotating bool }

// classify says which step leads from a record to the next one; for an illegal one, also what is wrong with it. old is nil if there was
// no record, next if it is there no more.
func (r rules) classify(old, next *history.Stored) (step, string) {
	if next == nil {
		return illegal, "the record was deleted"
	}
	if old == nil {
		old = new(history.Stored)
	}
	if next.Write != "" && next.Write == old.Write {
		return illegal, "the same write took effect twice"
	}
	want := *old
	want.Revision, want.Term, want.Write = next.Revision, next.Term, next.Write
	did, why := r.expect(old, next, &want)
	if why == "" {
		why = differences(want, *next)
	}
	if why != "" {
		return illegal, fmt.Sprintf("as a %s: %s", did, why)
	}
	return did, ""
}

// expect guesses the step, and makes of want, a copy of old, the record as that step should leave it. It returns what is wrong with
// the step as such.
func (r rules) expect(old, next, want *history.Stored) (step, string) {
	switch {
	case next.Attempt != "" && next.Attempt != old.Attempt:
		return begin, r.begun(old, next, want)
	case old.Attempt != "" && next.Attempt == "" && next.Outcome == "token":
		return commit, r.committed(old, next, want)
	case old.Attempt != "" && next.Attempt == "":
		r.aborted(old, next, want)
		return abort, ""
	case next.Condemned && !old.Condemned:
		want.Condemned = true
		return condemn, only(old.Value != "", "there is no value")
	case next.Doubt && !old.Doubt:
		want.Doubt = true
		return doubt, ""
	case next.Version > old.Version:
		want.Version, want.Floor = next.Version, 0
		healthy := old.Value != "" && old.Attempt == "" && !old.Doubt && !old.Condemned
		return above, only(!r.rotating && healthy, "only a healthy value goes above a version that a replica made up, where one may fetch alone")
	case next.Floor != old.Floor:
		want.Floor = next.Floor
		return floor, only(!r.rotating && next.Floor > old.Floor, "a floor rises, and only where a replica may fetch alone")
	default:
		return note, ""
	}
}

func (r rules) begun(old, next, want *history.Stored) string {
	want.Attempt, want.AttemptTerm, want.Forced = next.Attempt, next.Term, next.Forced
	if old.Doubt || old.Attempt != "" && (r.rotating || old.Forced) {
		want.Doubt, want.Drained = true, true
	}
	if want.Fetches++; next.Day > old.Day {
		want.Day, want.Fetches = next.Day, 1
	}
	switch {
	case next.Attempt == old.Resolved:
		return "the attempt is over already"
	case r.rotating && next.Forced:
		return "this upstream knows no forced fetch"
	}
	return ""
}

func (r rules) committed(old, next, want *history.Stored) string {
	want.Attempt, want.AttemptTerm, want.Forced = "", 0, false
	want.Doubt, want.Drained, want.Condemned, want.Floor = false, false, false, 0
	want.Resolved, want.Outcome, want.Value = old.Attempt, "token", next.Value
	same := old.Value == next.Value
	if !same || old.Floor > 0 && old.Floor >= old.Version {
		want.Version = max(old.Version, old.Floor) + 1
	}
	switch {
	case next.Value == "":
		return "there is no value"
	case same && (old.Condemned || old.Forced):
		return "the value is the dead one"
	case next.Term < old.AttemptTerm:
		return "the attempt is of a later term"
	}
	return ""
}

func (r rules) aborted(old, next, want *history.Stored) {
	want.Attempt, want.AttemptTerm, want.Forced = "", 0, false
	want.Resolved, want.Outcome = old.Attempt, "none"
	if next.Fetches == old.Fetches-1 { // the request was never written
		want.Fetches = next.Fetches
	}
}

func only(ok bool, otherwise string) string {
	if ok {
		return ""
	}
	return otherwise
}

// differences names the fields in which a record is not as it should be.
func differences(want, got history.Stored) string {
	var wrong []string
	differ := func(field string, want, got any) {
		if want != got {
			wrong = append(wrong, fmt.Sprintf("%s is %v, not %v", field, got, want))
		}
	}
	differ("version", want.Version, got.Version)
	differ("value", brief(want.Value), brief(got.Value))
	differ("attempt", want.Attempt, got.Attempt)
	differ("attempt's term", want.AttemptTerm, got.AttemptTerm)
	differ("forced", want.Forced, got.Forced)
	differ("doubt", want.Doubt, got.Doubt)
	differ("drained", want.Drained, got.Drained)
	differ("condemned", want.Condemned, got.Condemned)
	differ("resolved", want.Resolved, got.Resolved)
	differ("outcome", want.Outcome, got.Outcome)
	differ("fetches", want.Fetches, got.Fetches)
	differ("day", want.Day, got.Day)
	differ("floor", want.Floor, got.Floor)
	if len(wrong) == 0 && want != got {
		wrong = append(wrong, "it differs")
	}
	return strings.Join(wrong, ", ")
}
