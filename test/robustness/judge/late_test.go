package judge_test

import (
	"testing"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// lateRequest is a leader r1 that was stopped from 20.1 to 35 with a request that it was about to write. If it was succeeded, r2 has led
// meanwhile and fetched b. What was there then is rotated away by the late request at 35.1, and dies at 45.1.
func lateRequest(succeeded bool) *scene {
	s := newScene()
	s.elect(1, 1, true, "r1", "r2")
	s.fetch(5, classic, "a", 45.1)
	s.begin(20, classic, "late")
	s.fault(20.1, 35, "r1", history.EffectPaused)
	if succeeded {
		s.elect(24, 2, true, "r2")
		lead := func(r *history.Stored) { r.Term = 2 }
		s.put(32.9, classic, lead)
		s.fetch(33, classic, "b", 45.1).Replica = "r2"
		s.Issued[0].Until = seconds(43.1)
	} else {
		s.commit(35.2, classic, "c")
	}
	s.issue(classic, "c", 35.1, 115.1).Replica = "r1"
	return s
}

// stopped is where the events of lateRequest tell that the leader stood still.
const stopped = 7

func TestALateRequestExcusesUntilItsOrphanMustHaveBeenHeard(t *testing.T) {
	t.Parallel()
	for _, late := range []struct {
		name    string
		at      float64 // the promise of 8 s
		more    func(*scene)
		excused int
	}{
		{name: "before", at: 42, excused: 1}, // F and 5 s to hear after 35.1
		{name: "after", at: 42.2, excused: 0},
		{name: "in doubt since then, for the rest of its W", at: 44, more: func(s *scene) { s.Events[len(s.Events)-1].Answer.TTL = seconds(6) }, excused: 1},
		{name: "its own stop was said to be over a moment later", at: 42.2, more: func(s *scene) { s.Events[stopped].Received = seconds(35.2) }, excused: 0},
		{name: "etcd was in trouble", at: 44, more: func(s *scene) { s.fault(36, 37, "", history.EffectCut) }, excused: 1},
		{name: "the leader stood still", at: 44, more: func(s *scene) { s.fault(36, 37, "r2", history.EffectHeld) }, excused: 1},
		{name: "the outcome died with its process", at: 44, more: func(s *scene) { s.restart(36, 36.1, "r1") }, excused: 1},
	} {
		t.Run(late.name, func(t *testing.T) {
			t.Parallel()
			s := lateRequest(true)
			s.get(late.at, "r2", classic, 2, "b", 8)
			if late.more != nil {
				late.more(s)
			}
			s.expect(t, "S1", 1-late.excused, late.excused)
		})
	}
}

func TestALateRequestOfWhoStillLeadsLeavesNoOrphan(t *testing.T) {
	t.Parallel()
	s := lateRequest(false)
	s.get(44, "r2", classic, 1, "a", 8)
	s.expect(t, "S1", 0, 1)
}
