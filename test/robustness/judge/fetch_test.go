package judge_test

import (
	"testing"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// settled is a run in which r1 leads, and has fetched both tokens at 20; they end at 80.
func settled() *scene {
	s := newScene()
	s.elect(5, 1, true, "r1", "r2")
	s.fetch(20, stable, "a", 80.1)
	s.fetch(20, classic, "k", 80.1)
	return s
}

func TestAnAttemptHasACause(t *testing.T) {
	t.Parallel()
	for _, a := range []struct {
		name     string
		token    string
		at       float64
		before   func(s *scene)
		violated int
		excluded int
	}{
		{name: "none", token: stable, at: 40, violated: 1},
		{name: "the token nears its end, as a replica may count it", token: stable, at: 63, violated: 0},
		{name: "the token does not near its end", token: stable, at: 61, violated: 1},
		{name: "a classic token nears its end earlier", token: classic, at: 52},
		{name: "a classic token does not near its end", token: classic, at: 51, violated: 1},
		{name: "an attempt was not settled", token: stable, at: 42, before: func(s *scene) { s.begin(41, stable, "y"); s.issue(stable, "b", 41, 101) }, violated: 1}, // the first of the two
		{name: "doubt", token: stable, at: 40, before: func(s *scene) { s.put(30, stable, func(r *history.Stored) { r.Doubt = true }) }},
		{name: "condemned", token: stable, at: 40, before: func(s *scene) { s.put(30, stable, func(r *history.Stored) { r.Condemned = true }) }},
		{name: "fetched alone", token: stable, at: 40, before: func(s *scene) { s.put(30, stable, func(r *history.Stored) { r.Floor = 9 }) }},
		{name: "an order", token: stable, at: 40, before: func(s *scene) { s.order(39, stable) }},
		{name: "an order of long ago", token: stable, at: 700, before: func(s *scene) { s.Issued[0].Ends = seconds(2000); s.order(99, stable) }, violated: 1},
		{name: "an order that waited long", token: stable, at: 700, before: func(s *scene) { s.Issued[0].Ends = seconds(2000); s.order(101, stable) }},
		{name: "an order for another token", token: stable, at: 40, before: func(s *scene) { s.order(39, classic) }, violated: 1},
		{name: "an order that came after it", token: stable, at: 40, before: func(s *scene) { s.order(41, stable) }, violated: 1},
		{name: "an order that was served by a leader who led no more", token: stable, at: 45, before: func(s *scene) {
			s.order(39, stable)
			s.fetch(40, stable, "b", 100)
			s.elect(42, 3, true, "r2")
			s.put(43, stable, func(r *history.Stored) { r.Term = 3 })
		}},
		{name: "an order that was served", token: stable, at: 45, before: func(s *scene) { s.order(39, stable); s.fetch(40, stable, "b", 100) }, violated: 1},
		{name: "a wrong clock of who leads", token: stable, at: 40, before: func(s *scene) { s.fault(30, 50, "r1", history.EffectSkewed) }, excluded: 1},
		{name: "a wrong clock of who follows", token: stable, at: 40, before: func(s *scene) { s.fault(30, 50, "r2", history.EffectSkewed) }, violated: 1},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			s := settled()
			if a.before != nil {
				a.before(s)
			}
			s.begin(a.at, a.token, "z")
			s.expect(t, "Q1", a.violated, a.excluded)
		})
	}
}

// order is an operator's command.
func (s *scene) order(at float64, name string) {
	s.add(history.Event{Kind: history.Refresh, Replica: "r1", Token: name, Code: "OK", Sent: seconds(at), Received: seconds(at + 1)})
}

func TestAnAttemptKeepsItsDistance(t *testing.T) {
	t.Parallel()
	lost := func(at float64, name, attempt string) func(s *scene) {
		return func(s *scene) { s.begin(at, name, attempt) }
	}
	for _, a := range []struct {
		name     string
		steps    []func(s *scene)
		violated int
		excluded int
	}{
		{"W after a lost answer", []func(*scene){lost(60, classic, "x"), lost(68, classic, "y")}, 0, 0},
		{"less than W after a lost answer", []func(*scene){lost(60, classic, "x"), lost(67.9, classic, "y")}, 1, 0},
		{"drained, what the order of requests needs", []func(*scene){lost(60, classic, "x"), lost(68, classic, "y"), lost(73, classic, "z")}, 0, 0},
		{"drained, less", []func(*scene){lost(60, classic, "x"), lost(68, classic, "y"), lost(72.9, classic, "z")}, 1, 0},
		{"less than W after a commit", []func(*scene){
			func(s *scene) { s.fetch(60, classic, "l", 120) },
			func(s *scene) { s.order(65, classic); s.begin(66, classic, "y") },
		}, 1, 0},
		{"condemned, what the order of requests needs", []func(*scene){
			lost(60, classic, "x"), func(s *scene) { s.put(61, classic, func(r *history.Stored) { r.Condemned = true }) }, lost(65, classic, "y"),
		}, 0, 0},
		{"condemned, less", []func(*scene){
			lost(60, classic, "x"), func(s *scene) { s.put(61, classic, func(r *history.Stored) { r.Condemned = true }) }, lost(64.9, classic, "y"),
		}, 1, 0},
		{"at once after nothing was issued", []func(*scene){lost(60, classic, "x"), func(s *scene) { s.abort(60.5, classic) }, lost(61, classic, "y")}, 0, 0},
		{"at once where fetches harm nobody", []func(*scene){lost(65, stable, "x"), lost(66, stable, "y")}, 0, 0},
		{"too soon after a forced attempt", []func(*scene){
			func(s *scene) {
				s.order(64, stable)
				s.put(65, stable, func(r *history.Stored) {
					r.Attempt, r.AttemptTerm, r.Forced, r.Fetches = "x", r.Term, true, r.Fetches+1
				})
			},
			func(s *scene) {
				s.put(69.9, stable, func(r *history.Stored) {
					r.Attempt, r.Forced, r.Doubt, r.Drained, r.Fetches = "y", false, true, true, r.Fetches+1
				})
			},
		}, 1, 0},
		{"a clock that jumped", []func(*scene){lost(60, classic, "x"), lost(62, classic, "y"), func(s *scene) { s.fault(61, 61, "r2", history.EffectSkewed) }}, 0, 1},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			s := settled()
			for _, step := range a.steps {
				step(s)
			}
			s.expect(t, "M", 0, 0)
			s.expect(t, "Q1", a.violated, a.excluded)
		})
	}
}

func TestWhatWeChatIssuedBelongsToOneAttempt(t *testing.T) {
	t.Parallel()
	for _, i := range []struct {
		name     string
		with     func(s *scene)
		violated int
		excluded int
	}{
		{"a second time", func(s *scene) { s.issue(classic, "l", 20.15, 80) }, 1, 0},
		{"to somebody else", func(s *scene) { s.issue(classic, "l", 20.15, 80).Foreign = true }, 0, 0},
		{"of an attempt whose answer was lost", func(s *scene) { s.begin(60, classic, "x"); s.issue(classic, "l", 61, 121) }, 0, 0},
		{"of an attempt that is over for long", func(s *scene) {
			s.begin(60, classic, "x")
			s.issue(classic, "l", 66, 126)
			s.put(70, classic, func(*history.Stored) {})
		}, 1, 0},
		{"before the attempt", func(s *scene) { s.begin(60, classic, "x"); s.issue(classic, "l", 59, 119) }, 1, 0},
		{"of an attempt that issued nothing", func(s *scene) { s.begin(60, classic, "x"); s.issue(classic, "l", 60.1, 120); s.abort(61, classic) }, 1, 0},
		{"twice of an attempt whose answer was lost", func(s *scene) {
			s.begin(60, classic, "x")
			s.issue(classic, "l", 61, 121)
			s.issue(classic, "m", 62, 122)
			s.put(63, classic, func(*history.Stored) {})
		}, 1, 0},
		{"after a pause beyond P", func(s *scene) {
			s.begin(60, classic, "x")
			s.fault(60.1, 67.9, "r1", history.EffectPaused)
			s.issue(classic, "l", 68, 128)
			s.put(70, classic, func(*history.Stored) {})
		}, 0, 1},
		{"to a replica that is cut off", func(s *scene) {
			s.fault(30, 50, "r2", history.EffectCut)
			s.issue(stable, "b", 40, 100).Replica = "r2"
			s.begin(65, stable, "z")
		}, 0, 1},
		{"to a replica that was cut off a moment ago", func(s *scene) {
			s.fault(36, 50, "r2", history.EffectCut)
			s.issue(stable, "b", 40, 100).Replica = "r2"
			s.begin(65, stable, "z")
		}, 1, 0},
		{"to another that is not", func(s *scene) {
			s.fault(30, 50, "r2", history.EffectCut)
			s.issue(stable, "b", 40, 100).Replica = "r1"
			s.begin(65, stable, "z")
		}, 1, 0},
		{"of the classic endpoint to one that is cut off", func(s *scene) {
			s.fault(10, 50, "r2", history.EffectCut)
			s.issue(classic, "l", 40, 100).Replica = "r2"
			s.begin(60, classic, "z")
		}, 1, 0},
		{"after the last look at etcd", func(s *scene) { s.issue(stable, "b", 90, 150) }, 0, 1},
	} {
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			s := settled()
			i.with(s)
			s.expect(t, "Q1", i.violated, i.excluded)
		})
	}
}

func TestTheBudgetOfADayIsNeverExceeded(t *testing.T) {
	t.Parallel()
	s := settled()
	s.fetch(70, stable, "b", 130)
	s.Tokens[1].DailyBudget = 2
	s.expect(t, "Q1", 0, 0)
	s.Tokens[1].DailyBudget = 1
	s.expect(t, "Q1", 1, 0)
}

func TestRequestsAreAttemptsAndWhatReplicasAskAlone(t *testing.T) {
	t.Parallel()
	s := settled()
	s.get(300, "r1", stable, 1, "a", 0)
	s.put(40, classic, func(*history.Stored) {}) // no attempt
	s.put(41, stable, func(*history.Stored) {})
	s.Tokens[0].Requests, s.Tokens[1].Requests = 1, 1
	s.expect(t, "Q1", 0, 0)
	s.Tokens[0].Requests, s.Tokens[1].Requests = 2, 4
	s.expect(t, "Q1", 2, 0)
	s.fault(50, 51, "r2", history.EffectCut) // with the time to hear of anything before and after, just long enough for one
	s.expect(t, "Q1", 2, 0)
	s.fault(100, 117, "r2", history.EffectCut) // three: one each 6 s, a tenth of a life
	s.Tokens[1].Requests = 5
	s.expect(t, "Q1", 1, 0)
	s.Tokens[1].Requests = 6
	s.expect(t, "Q1", 2, 0)
}

func TestAttemptsAreCountedByTheirCauses(t *testing.T) {
	t.Parallel()
	s := settled()
	s.order(29, stable)
	s.fetch(30, stable, "b", 90)
	s.begin(85, stable, "y")
	s.begin(86, stable, "z")
	s.abort(87, stable)
	n := judge.Judge(s.Case).Figures.Refreshes[stable]
	for cause, want := range map[string]int{
		"there was no token": 1, "an operator's order": 1, "the token neared its end": 1, "an attempt was never settled": 1,
	} {
		if n.Attempts[cause] != want {
			t.Errorf("%s: %d, not %d", cause, n.Attempts[cause], want)
		}
	}
	if n.Steps["begin"] != 4 || n.Steps["commit"] != 2 || n.Steps["abort"] != 1 || n.Issued != 2 {
		t.Errorf("%+v", n)
	}
}
