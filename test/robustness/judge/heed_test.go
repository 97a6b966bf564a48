package judge_test

import (
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

func TestALateRequestIsHeeded(t *testing.T) {
	t.Parallel()
	for _, late := range []struct {
		name     string
		with     func(s *scene) // after 35.1, when it was processed; r1 has 5 s to tell, and r2, who leads, 5 s to act
		violated bool
	}{
		{"by nobody", func(*scene) {}, true},
		{"by doubt", func(s *scene) { s.put(36, classic, func(r *history.Stored) { r.Doubt = true }) }, false},
		{"by doubt, too late", func(s *scene) { s.put(45.2, classic, func(r *history.Stored) { r.Doubt = true }) }, true},
		{"by doubt that an earlier fetch ended", func(s *scene) {
			s.put(36, classic, func(r *history.Stored) { r.Doubt = true })
			s.begin(37, classic, "x")
			s.commit(38, classic, "b")
		}, true},
		{"since it is known to be dead", func(s *scene) { s.put(36, classic, func(r *history.Stored) { r.Condemned = true }) }, false},
		{"by a newer token", func(s *scene) { s.fetch(41, classic, "d", 101).Replica = "r2" }, false},
		{"by nobody, for it died with its process", func(s *scene) { s.restart(40, 40.05, "r1") }, false},
		{"by nobody, and its process died when it had told", func(s *scene) { s.restart(40.2, 40.3, "r1") }, true},
		{"by nobody, for it cannot tell", func(s *scene) { s.fault(40, 55, "r1", history.EffectCut) }, false},
		{"by nobody, though it could tell at last", func(s *scene) { s.fault(36, 37, "r1", history.EffectCut) }, true},
		{"by nobody, for who leads stands still", func(s *scene) { s.fault(45, 55, "r2", history.EffectHeld) }, false},
		{"by nobody, for nobody leads", func(s *scene) { s.elect(44, 3, false) }, false},
		{"by the next leader neither", func(s *scene) { s.elect(44, 3, true, "r1") }, true},
		{"by the next leader, who has had no time yet", func(s *scene) { s.elect(44, 3, true, "r1"); s.fault(48, 60, "r1", history.EffectHeld) }, false},
	} {
		t.Run(late.name, func(t *testing.T) {
			t.Parallel()
			s := lateRequest(true)
			late.with(s)
			s.put(50, classic, func(*history.Stored) {}) // somebody looks at etcd
			violated := 0
			if late.violated {
				violated = 1
			}
			s.expectOf(t, "Q1", "nobody heeded", violated)
		})
	}
}

func TestARequestThatWasNotLateNeedsNoHeed(t *testing.T) {
	t.Parallel()
	for w, violated := range map[float64]int{15.09: 1, 15.091: 0} { // it was processed 15.09 s after its BEGIN was told of
		s := lateRequest(true)
		s.Tokens[0].Timing = token.TimingFor(overlap)
		s.Tokens[0].Timing.W = seconds(w)
		s.put(50, classic, func(*history.Stored) {})
		s.expectOf(t, "Q1", "nobody heeded", violated)
	}
}
