package judge_test

import (
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

type edit = func(r *history.Stored)

// write changes the record that stands: the commit of version 1, and what legal steps have made of it.
type write struct {
	name   string
	token  string
	before []edit
	change edit
	wrong  bool
}

func TestARecordIsChangedByTheProtocolsStepsOnly(t *testing.T) {
	t.Parallel()
	pending := func(r *history.Stored) { r.Attempt, r.AttemptTerm, r.Fetches = "y", 1, r.Fetches+1 }
	forced := func(r *history.Stored) { pending(r); r.Forced = true }
	drained := func(r *history.Stored) { pending(r); r.Doubt, r.Drained = true, true }
	condemned := func(r *history.Stored) { r.Condemned = true }
	doubtful := func(r *history.Stored) { r.Doubt = true }
	floored := func(r *history.Stored) { r.Floor = 50 }
	low := func(r *history.Stored) { r.Floor = 1 }
	again := func(r *history.Stored) { r.Attempt, r.AttemptTerm, r.Fetches = "z", r.Term, r.Fetches+1 }
	resolve := func(r *history.Stored, outcome string) {
		r.Resolved, r.Outcome, r.Attempt, r.AttemptTerm, r.Forced = r.Attempt, outcome, "", 0, false
		if outcome == "token" {
			r.Doubt, r.Drained, r.Condemned, r.Floor = false, false, false, 0
		}
	}
	grant := func(version int64, value string) func(r *history.Stored) {
		return func(r *history.Stored) { resolve(r, "token"); r.Version, r.Value = version, value }
	}
	none := func(r *history.Stored) { resolve(r, "none") }
	for _, w := range []write{
		{name: "nothing but a note", change: func(*history.Stored) {}},
		{name: "a write that took effect twice", change: func(r *history.Stored) { r.Write = "write-2" }, wrong: true},
		{name: "a revision that is not higher", change: func(r *history.Stored) { r.Revision = 2 }, wrong: true},

		{name: "BEGIN", change: again},
		{name: "BEGIN of a later term", change: func(r *history.Stored) { r.Term = 9; again(r) }},
		{name: "BEGIN in another term's name", change: func(r *history.Stored) { again(r); r.AttemptTerm = 9 }, wrong: true},
		{name: "BEGIN that counts no fetch", change: func(r *history.Stored) { again(r); r.Fetches-- }, wrong: true},
		{name: "BEGIN on a new day", change: func(r *history.Stored) { again(r); r.Day, r.Fetches = "2026-11-23", 1 }},
		{name: "BEGIN on a new day with the old count", change: func(r *history.Stored) { again(r); r.Day = "2026-11-23" }, wrong: true},
		{name: "BEGIN on an older day", change: func(r *history.Stored) { again(r); r.Day, r.Fetches = "2026-11-21", 1 }, wrong: true},
		{name: "BEGIN of an attempt that is over", change: func(r *history.Stored) { again(r); r.Attempt = "x" }, wrong: true},
		{name: "BEGIN that forces", change: func(r *history.Stored) { again(r); r.Forced = true }},
		{name: "BEGIN that forces a classic token", token: classic, change: func(r *history.Stored) { again(r); r.Forced = true }, wrong: true},
		{name: "BEGIN that changes the value", change: func(r *history.Stored) { again(r); r.Value = "b" }, wrong: true},
		{name: "BEGIN over a pending attempt", before: []edit{pending}, change: again},
		{name: "BEGIN over a pending attempt, drained", token: classic, before: []edit{pending}, change: func(r *history.Stored) { again(r); r.Doubt, r.Drained = true, true }},
		{name: "BEGIN over a pending attempt, no doubt", token: classic, before: []edit{pending}, change: again, wrong: true},
		{name: "BEGIN over a pending attempt, not drained", token: classic, before: []edit{pending}, change: func(r *history.Stored) { again(r); r.Doubt = true }, wrong: true},
		{name: "BEGIN over a forced attempt, drained", before: []edit{forced}, change: func(r *history.Stored) { again(r); r.Forced, r.Doubt, r.Drained = false, true, true }},
		{name: "BEGIN over a forced attempt, no doubt", before: []edit{forced}, change: func(r *history.Stored) { again(r); r.Forced = false }, wrong: true},
		{name: "BEGIN in doubt, not drained", token: classic, before: []edit{doubtful}, change: again, wrong: true},

		{name: "COMMIT", before: []edit{pending}, change: grant(2, "b")},
		{name: "COMMIT of another term's attempt", before: []edit{pending}, change: func(r *history.Stored) { grant(2, "b")(r); r.Term = 9 }},
		{name: "COMMIT of a later term's attempt", before: []edit{func(r *history.Stored) { pending(r); r.Term, r.AttemptTerm = 9, 9 }}, change: func(r *history.Stored) { grant(2, "b")(r); r.Term = 1 }, wrong: true},
		{name: "COMMIT of the same value", before: []edit{pending}, change: grant(1, "a")},
		{name: "COMMIT of the same value with a new version", before: []edit{pending}, change: grant(2, "a"), wrong: true},
		{name: "COMMIT of another value with the same version", before: []edit{pending}, change: grant(1, "b"), wrong: true},
		{name: "COMMIT that leaves a version out", before: []edit{pending}, change: grant(3, "b"), wrong: true},
		{name: "COMMIT without a value", before: []edit{pending}, change: grant(2, ""), wrong: true},
		{name: "COMMIT without an attempt", change: func(r *history.Stored) { r.Version, r.Value, r.Resolved = 2, "b", "y" }, wrong: true},
		{name: "COMMIT of another attempt", before: []edit{pending}, change: func(r *history.Stored) { grant(2, "b")(r); r.Resolved = "q" }, wrong: true},
		{name: "COMMIT that leaves doubt", before: []edit{doubtful, drained}, change: func(r *history.Stored) { grant(2, "b")(r); r.Doubt = true }, wrong: true},
		{name: "COMMIT of a condemned value", before: []edit{pending, condemned}, change: grant(1, "a"), wrong: true},
		{name: "COMMIT of the value to be killed", before: []edit{forced}, change: grant(1, "a"), wrong: true},
		{name: "COMMIT above a floor", before: []edit{pending, floored}, change: grant(51, "b")},
		{name: "COMMIT of the same value above a floor", before: []edit{pending, floored}, change: grant(51, "a")},
		{name: "COMMIT of the same value on its own floor", before: []edit{pending, low}, change: grant(1, "a"), wrong: true},
		{name: "COMMIT of the same value above its own floor", before: []edit{pending, low}, change: grant(2, "a")},
		{name: "COMMIT below a floor", before: []edit{pending, floored}, change: grant(2, "b"), wrong: true},

		{name: "ABORT", before: []edit{pending}, change: none},
		{name: "ABORT of what was not written", before: []edit{pending}, change: func(r *history.Stored) { none(r); r.Fetches-- }},
		{name: "ABORT that counts two fetches less", before: []edit{pending}, change: func(r *history.Stored) { none(r); r.Fetches -= 2 }, wrong: true},
		{name: "ABORT of another attempt", before: []edit{pending}, change: func(r *history.Stored) { none(r); r.Resolved = "q" }, wrong: true},
		{name: "ABORT that keeps the doubt", before: []edit{doubtful, drained}, change: none},
		{name: "ABORT that forgets the doubt", before: []edit{doubtful, drained}, change: func(r *history.Stored) { none(r); r.Doubt, r.Drained = false, false }, wrong: true},
		{name: "an attempt that is gone without an outcome", before: []edit{pending}, change: func(r *history.Stored) { r.Attempt, r.AttemptTerm = "", 0 }, wrong: true},

		{name: "doubt", change: doubtful},
		{name: "doubt that goes by itself", before: []edit{doubtful}, change: func(r *history.Stored) { r.Doubt = false }, wrong: true},
		{name: "condemnation", change: condemned},
		{name: "condemnation and doubt at once", change: func(r *history.Stored) { condemned(r); doubtful(r) }, wrong: true},
		{name: "a pardon", before: []edit{condemned}, change: func(r *history.Stored) { r.Condemned = false }, wrong: true},
		{name: "a floor", change: floored},
		{name: "above what a replica made up", change: func(r *history.Stored) { r.Version = 51 }},
		{name: "above a floor", before: []edit{floored}, change: func(r *history.Stored) { r.Version, r.Floor = 61, 0 }},
		{name: "above, with another value", change: func(r *history.Stored) { r.Version, r.Value = 51, "b" }, wrong: true},
		{name: "above in doubt", before: []edit{doubtful}, change: func(r *history.Stored) { r.Version = 51 }, wrong: true},
		{name: "above during an attempt", before: []edit{pending}, change: func(r *history.Stored) { r.Version = 51 }, wrong: true},
		{name: "above on a classic token", token: classic, change: func(r *history.Stored) { r.Version = 51 }, wrong: true},
		{name: "a floor on a classic token", token: classic, change: floored, wrong: true},
		{name: "doubt and a floor at once", change: func(r *history.Stored) { doubtful(r); floored(r) }, wrong: true},
		{name: "a floor that sinks", before: []edit{floored}, change: func(r *history.Stored) { r.Floor = 20 }, wrong: true},
		{name: "a version that rises by itself", change: func(r *history.Stored) { r.Version, r.Value, r.Doubt = 9, "", true }, wrong: true},
		{name: "a value that changes by itself", change: func(r *history.Stored) { r.Value = "b" }, wrong: true},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			if w.token == "" {
				w.token = stable
			}
			s.begin(10, w.token, "x")
			s.commit(11, w.token, "a")
			for i, change := range w.before {
				s.put(12+float64(i), w.token, change)
			}
			s.expect(t, "M", 0, 0)
			s.put(20, w.token, w.change)
			violated := 0
			if w.wrong {
				violated = 1
			}
			s.expect(t, "M", violated, 0)
		})
	}
}

func TestVersionsAreRaisedByNothingButAToken(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.begin(10, classic, "x")
	s.commit(11, classic, "a")
	s.put(12, classic, func(r *history.Stored) { r.Version, r.Value, r.Doubt = 9, "", true })
	s.expect(t, "M", 1, 0)
}

func TestARecordBeginsWithAnAttemptAndIsNeverDeleted(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.put(10, stable, func(r *history.Stored) { r.Version, r.Value = 1, "a" })
	s.expect(t, "M", 1, 0)

	s = newScene()
	s.begin(10, stable, "x")
	s.add(history.Event{Kind: history.Record, Token: stable, Sent: seconds(11), Received: seconds(11)})
	s.expect(t, "M", 1, 0)
	if what := judge.Judge(s.Case).Check("M").Violations[0].What; !strings.Contains(what, "deleted") {
		t.Errorf("%q does not tell what happened", what)
	}
}
