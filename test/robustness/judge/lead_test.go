package judge_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// term is a record of a token that was written in a term.
func (s *scene) term(at float64, name string, term int64) {
	s.put(at, name, func(r *history.Stored) { r.Term = term })
}

func TestOnlyTheLeaderWrites(t *testing.T) {
	t.Parallel()
	for _, l := range []struct {
		name     string
		with     func(s *scene)
		violated int
		excluded int
	}{
		{"each in its term", func(s *scene) {
			s.elect(5, 10, true, "r1", "r2")
			s.term(6, stable, 10)
			s.elect(7, 11, true, "r2")
			s.term(8, classic, 11)
		}, 0, 0},
		{"before an election was seen", func(s *scene) { s.term(6, stable, 10) }, 0, 1},
		{"in no term", func(s *scene) { s.elect(5, 10, true, "r1"); s.term(6, stable, 0) }, 1, 0},
		{"when the term was over", func(s *scene) { s.elect(5, 10, true, "r1"); s.elect(6, 11, false, "r2"); s.term(7, stable, 10) }, 1, 0},
		{"before it had proclaimed itself", func(s *scene) { s.elect(5, 10, false, "r1"); s.term(6, stable, 10) }, 1, 0},
		{"while it waited", func(s *scene) { s.elect(5, 10, true, "r1", "r2"); s.term(6, stable, 11) }, 1, 0},
		{"when there was nobody", func(s *scene) { s.elect(5, 10, false); s.term(6, stable, 10) }, 1, 0},
		{"interleaved, of two tokens", func(s *scene) {
			s.elect(5, 10, true, "r1", "r2")
			s.term(6, stable, 10)
			s.elect(7, 11, true, "r2")
			s.term(8, classic, 11)
			s.term(9, stable, 10)
		}, 1, 0},
		{"two proclaimed", func(s *scene) { s.elect(5, 10, true, "r1", "r2").Candidates[1].Proclaimed = true }, 1, 0},
		{"one proclaimed behind an older one", func(s *scene) {
			e := s.elect(5, 10, false, "r1", "r2")
			e.Candidates[1].Proclaimed = true
		}, 1, 0},
		{"candidates out of order", func(s *scene) { s.elect(5, 10, true, "r1", "r2").Candidates[1].Created = 9 }, 1, 0},
		{"an earlier term again", func(s *scene) { s.elect(5, 11, true, "r2"); s.elect(6, 10, true, "r1") }, 1, 0},
	} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			l.with(s)
			s.expect(t, "L", l.violated, l.excluded)
		})
	}
}

func TestAFailoverCountsFromWhatTheLeaderMetWith(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.elect(5, 10, true, "r1", "r2")
	s.fault(7, 7.5, "r1", history.EffectCut) // healed long before
	s.restart(20, 40, "r1")
	s.elect(22, 11, false, "r2")
	s.elect(22.5, 11, true, "r2")
	s.elect(30, 11, true, "r2", "r1")
	s.fault(32, 33, "r1", history.EffectCut) // does not lead
	s.elect(35, 12, true, "r1")              // r2 has resigned
	s.fault(50, 60, "r1", history.EffectPaused)
	s.fault(51, 60, "r1", history.EffectCut)
	s.elect(52, 12, false)
	s.elect(54, 14, true, "r2")
	s.fault(70, 80, "", history.EffectCut)
	s.elect(81, 14, false)
	s.elect(82, 15, true, "r1")
	got := judge.Judge(s.Case).Figures
	want := judge.Distribution{N: 2, Median: seconds(2.5), P99: seconds(4), Max: seconds(4)}
	if diff := cmp.Diff(want, got.Failovers); diff != "" {
		t.Errorf("failovers (-want +got):\n%s", diff)
	}
	if got.StoreFailovers.N != 1 || got.StoreFailovers.Max != 12*time.Second || got.HandOvers != 1 {
		t.Errorf("with etcd away %v, hand-overs %d", got.StoreFailovers, got.HandOvers)
	}
}
