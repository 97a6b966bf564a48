package refresh_test

import (
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// What others tell of the quiet wait is what the leader keeps to: an attempt that is wanted now begins when they say, and not before.
func TestTheQuietWaitThatOthersTellIsTheLeaders(t *testing.T) {
	wanted := token.Request{Kind: token.RequestRefresh, Version: 1}
	order := func(s *scene) { wanted.Version = s.record().Version; s.ask(wanted) }
	lose := func(s *scene, p float64) { s.setFaults(func(f *faults) { f.fetch.lost = p }) }
	nothing := func(*scene) {}
	for _, c := range []struct {
		name    string
		token   string
		happens func(*scene)
		want    func(*scene) // an attempt
		least   func(token.Timing) time.Duration
	}{
		{"after a fetch", classic, nothing, order, promised},
		{"after another has begun to lead", classic, func(s *scene) {
			time.Sleep(30 * time.Minute)
			s.succeed()
		}, order, promised},
		{"after a fetch of a token that died, the first one", classic, func(s *scene) {
			s.killCurrent()
			s.report(1)
		}, nothing, settled},
		{"after a fetch of a token that died, a later one", classic, func(s *scene) {
			order(s)
			s.killCurrent()
			s.report(2)
		}, nothing, promised},
		{"after an attempt whose answer was lost", classic, func(s *scene) { lose(s, 1); order(s); lose(s, 0) }, order, promised},
		{"after another one, when nobody promises the token any more", classic, func(s *scene) { lose(s, 1); order(s); order(s); lose(s, 0) }, order, settled},
		{"after a refusal", classic, func(s *scene) {
			s.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125"})
			order(s)
			s.up.regime(false, nil)
		}, order, none},
		{"after an ordinary fetch of an idempotent token", stable, nothing, order, none},
		{"after a forced one whose answer was lost", stable, func(s *scene) {
			s.up.judge.excuse(s.record().Value.Reveal())
			lose(s, 1)
			s.ask(token.Request{Kind: token.RequestRefresh, Version: 1, Force: true})
			lose(s, 0)
		}, order, settled},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, c.token, func(s *scene) {
				led := time.Now().Add(-10 * time.Second) // the first token is there in less
				before := s.etcd.termCount()
				c.happens(s)
				if s.etcd.termCount() > before {
					led = time.Now()
				}
				now, begun := time.Now(), len(s.begins())
				told := refresh.QuietUntil(s.record(), s.up.traits(c.token), s.timing, led, now)
				if left, least := max(told.Sub(now), 0), c.least(s.timing); left > least || left < least-time.Minute {
					t.Errorf("told is a wait of %v, want %v at most, and not much less", left, least)
				}
				c.want(s)
				s.until("another attempt", time.Hour, func() bool { return len(s.begins()) > begun })
				if told.Before(now) {
					told = now
				}
				if off := s.begins()[begun].Sub(told); off.Abs() > 2*time.Second {
					t.Errorf("the next attempt began %v after what was told", off)
				}
			})
		})
	}
}

func promised(t token.Timing) time.Duration { return t.W }
func settled(t token.Timing) time.Duration  { return t.Settled() }
func none(token.Timing) time.Duration       { return 0 }

// succeed has another replica lead.
func (s *scene) succeed() {
	s.t.Helper()
	terms := s.etcd.termCount()
	s.etcd.leader().resign <- struct{}{}
	s.until("another term", time.Minute, func() bool { return s.etcd.termCount() > terms })
}

func TestAnAttemptIsUnderWayAsLongAsItsLeaderAwaitsTheAnswer(t *testing.T) {
	timing, begun := token.TimingFor(5*time.Minute), time.Now()
	rec := token.Record{}
	if refresh.UnderWay(rec, timing, begun) {
		t.Error("nothing was begun")
	}
	rec.Pending = &token.Intent{At: begun}
	for passed, want := range map[time.Duration]bool{0: true, timing.G + timing.F - 1: true, timing.G + timing.F: false} {
		if got := refresh.UnderWay(rec, timing, begun.Add(passed)); got != want {
			t.Errorf("%v after it was begun: %v", passed, got)
		}
	}
}
