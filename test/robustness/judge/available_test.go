package judge_test

import (
	"testing"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// holding is a replica r1 which has held a stable token, that lives from 20.1 to 80.1, since 22 at the latest.
func holding() *scene {
	s := newScene()
	s.fetch(20, stable, "a", 80.1)
	s.get(22, "r1", stable, 1, "a", 50)
	return s
}

func TestAReplicaThatHoldsALivingTokenNeverFails(t *testing.T) {
	t.Parallel()
	s := holding()
	s.get(40, "r1", stable, 1, "a", 0) // suspect will do
	s.expect(t, "A1", 0, 0)
	for _, code := range []string{"Unavailable", "DeadlineExceeded", "Internal", "UNAVAILABLE"} {
		s := holding()
		s.fails(50, "r1", code, "EXPIRED")
		s.expect(t, "A1", 1, 0)
	}
}

func TestAFailureIsExcusedByItsCauseOnly(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		name     string
		at       float64
		code     string
		reason   string
		with     func(s *scene)
		violated int
		excluded int
	}{
		{name: "whatever etcd does", at: 50, code: "Unavailable", with: func(s *scene) { s.fault(30, 60, "", history.EffectCut) }, violated: 1},
		{name: "whatever WeChat does", at: 50, code: "Unavailable", with: func(s *scene) { s.fault(30, 60, "", history.EffectUpstream) }, violated: 1},
		{name: "a part of it stands still", at: 50, code: "Unavailable", with: func(s *scene) { s.fault(30, 60, "r1", history.EffectHeld) }, violated: 1},
		{name: "the caller went away", at: 50, code: "Canceled", excluded: 1},
		{name: "the caller went away, in capitals", at: 50, code: "CANCELLED", excluded: 1},
		{name: "a life was asked for", at: 50, code: "DeadlineExceeded", with: func(s *scene) { s.Events[len(s.Events)-1].MinTTL = 1 }},
		{name: "killed", at: 50, code: "Unavailable", with: func(s *scene) { s.restart(49, 51, "r1") }, excluded: 1},
		{name: "killed during the call", at: 50, code: "Unavailable", with: func(s *scene) { s.restart(50.005, 51, "r1") }, excluded: 1},
		{name: "about to be killed", at: 48.5, code: "Unavailable", with: func(s *scene) { s.restart(49, 51, "r1") }, excluded: 1},
		{name: "not yet about to be killed", at: 47.5, code: "Unavailable", with: func(s *scene) { s.restart(49, 51, "r1") }, violated: 1},
		{name: "told to die at a failpoint", at: 35, code: "Unavailable", with: func(s *scene) {
			s.fault(30, 50, "r1", history.EffectKilled)
			s.restart(49, 51, "r1")
		}, violated: 1},
		{name: "launched again, and nobody noticed the end", at: 50, code: "Unavailable", reason: "EXPIRED", with: func(s *scene) {
			for _, at := range []float64{1, 55} {
				s.add(history.Event{Kind: history.Process, Replica: "r1", Code: history.ProcessStarted, Sent: seconds(at), Received: seconds(at)})
			}
		}, violated: 1},
		{name: "another was killed", at: 50, code: "Unavailable", with: func(s *scene) { s.restart(49, 51, "r2") }, violated: 1},
		{name: "stood still", at: 50, code: "DeadlineExceeded", with: func(s *scene) { s.fault(49, 51, "r1", history.EffectPaused) }, excluded: 1},
		{name: "the connection was not back", at: 55, code: "Unavailable", with: func(s *scene) { s.fault(49, 51, "r1", history.EffectPaused) }, excluded: 1},
		{name: "the connection should be back", at: 65, code: "Unavailable", with: func(s *scene) { s.fault(49, 51, "r1", history.EffectPaused) }, violated: 1},
		{name: "the connection was back", at: 55, code: "Unavailable", reason: "EXPIRED", with: func(s *scene) { s.fault(49, 51, "r1", history.EffectPaused) }, violated: 1},
		{name: "vanished", at: 50, code: "DeadlineExceeded", with: func(s *scene) { s.fault(49, 51, "r1", history.EffectVanished) }, excluded: 1},
		{name: "vanished, and answers nevertheless", at: 50, code: "Unavailable", reason: "EXPIRED", with: func(s *scene) {
			s.fault(49, 51, "r1", history.EffectVanished)
		}, violated: 1},
		{name: "had vanished long ago", at: 65, code: "Unavailable", with: func(s *scene) { s.fault(49, 51, "r1", history.EffectVanished) }, violated: 1},
		{name: "restarted, and had to hear", at: 52, code: "Unavailable", reason: "NO_TOKEN_YET", with: func(s *scene) { s.restart(45, 48, "r1") }, excluded: 1},
		{name: "restarted, and had heard", at: 54, code: "Unavailable", reason: "NO_TOKEN_YET", with: func(s *scene) {
			s.restart(45, 48, "r1")
			s.Skew = seconds(10)
		}, violated: 1},
		{name: "restarted, and could not hear", at: 60, code: "Unavailable", reason: "NO_TOKEN_YET", with: func(s *scene) {
			s.restart(45, 48, "r1")
			s.fault(47, 70, "r1", history.EffectCut)
		}, excluded: 1},
		{name: "the token neared its end", at: 71.5, code: "Unavailable", excluded: 1},
		{name: "the token did not yet near its end", at: 70.5, code: "Unavailable", violated: 1},
		{name: "the token was killed", at: 50, code: "Unavailable", with: func(s *scene) { s.Issued[0].Until = seconds(49) }, excluded: 1},
		{name: "the clock was wrong", at: 50, code: "Unavailable", with: func(s *scene) { s.fault(30, 40, "r1", history.EffectSkewed) }, excluded: 1},
		{name: "the clock had been wrong before", at: 50, code: "Unavailable", with: func(s *scene) { s.fault(5, 10, "r1", history.EffectSkewed) }, violated: 1},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := holding()
			s.get(90, "r2", stable, 2, "b", 0)
			s.fails(f.at, "r1", f.code, f.reason)
			if f.with != nil {
				f.with(s)
			}
			s.expect(t, "A1", f.violated, f.excluded)
		})
	}
}

func TestAReplicaHoldsWhatItMustHaveHeardOf(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.fetch(20, stable, "a", 80.1)
	s.fails(24, "r1", "Unavailable", "NO_TOKEN_YET")
	s.expect(t, "A1", 0, 1)
	s.fails(26, "r1", "Unavailable", "NO_TOKEN_YET")
	s.expect(t, "A1", 1, 1)
}

func TestWhoCountsByWallClocksMayEndATokenEarlier(t *testing.T) {
	t.Parallel()
	s := holding()
	s.restart(30, 32, "r1")
	s.get(33, "r1", stable, 1, "a", 10)
	s.fails(39, "r1", "Unavailable", "EXPIRED")
	s.expect(t, "A1", 1, 0)
	s.fails(42, "r1", "Unavailable", "EXPIRED")
	s.expect(t, "A1", 1, 1)
}

func TestTheNewerOfTwoTokensCounts(t *testing.T) {
	t.Parallel()
	s := holding()
	s.fetch(60, stable, "b", 120)
	s.get(61, "r1", stable, 2, "b", 50)
	s.get(61.005, "r1", stable, 1, "a", 10) // under way at the same time
	s.fails(90, "r1", "Unavailable", "EXPIRED")
	s.expect(t, "A1", 1, 0)
}

func TestAProcessDoesNotEndByItself(t *testing.T) {
	t.Parallel()
	s := holding()
	s.get(90, "r1", stable, 1, "a", 0)
	s.restart(40, 42, "r1")
	s.expect(t, "A1", 0, 0)
	crash := s.add(history.Event{Kind: history.Process, Replica: "r1", Code: history.ProcessEnded, Sent: seconds(95), Received: seconds(95)})
	s.expect(t, "A1", 0, 0) // the run is over
	crash.Sent, crash.Received = seconds(80), seconds(80)
	s.expect(t, "A1", 1, 0)
}
