package judge_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// recovering is a run whose last fault ended at 100. All replicas have to be well within 20 s; all are but for what a test adds for r1
// and the stable token.
func recovering() *scene {
	s := newScene()
	s.RecoverWithin = seconds(20)
	s.add(history.Event{Kind: history.Healed, Sent: seconds(100), Received: seconds(100)})
	for _, id := range s.Replicas {
		for _, name := range []string{stable, classic} {
			if id != "r1" || name != stable {
				s.get(101, id, name, 1, "x", 5)
			}
		}
	}
	return s
}

func TestEveryReplicaIsWellInTimeAndStaysSo(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		name  string
		calls string // a letter a second after 105: active, suspect, failed; m and M failed and active, with a life asked for
		wrong bool
	}{
		{"nobody asks", "", true},
		{"at once", "aaaa", false},
		{"after a while", "fsfsaaaa", false},
		{"as late as may be", "ffffffffffffffaa", false},
		{"too late", "fffffffffffffffaa", true},
		{"never", "fffff", true},
		{"not for good", "aaaaaaaaaaaaaaaaaaaaas", true},
		{"for good, but too late", "aaaaaaaaaaaaaaaaaaaaasa", true},
		{"what asks for a life may fail", "aaaamaaaaammm", false},
		{"what asks for a life counts if it succeeds", "fMf", true},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			s := recovering()
			s.fails(99, "r1", "Unavailable", "EXPIRED")
			for i, call := range r.calls {
				switch at := 105 + float64(i); call {
				case 'a':
					s.get(at, "r1", stable, 1, "a", 1)
				case 'M':
					s.get(at, "r1", stable, 1, "a", 1).MinTTL = 1
				case 's':
					s.get(at, "r1", stable, 1, "a", 0)
				case 'f':
					s.fails(at, "r1", "Unavailable", "EXPIRED")
				case 'm':
					s.fails(at, "r1", "DeadlineExceeded", "MIN_TTL_NOT_MET").MinTTL = 1
				}
			}
			violated := 0
			if r.wrong {
				violated = 1
			}
			s.expect(t, "A2", violated, 0)
		})
	}
}

func TestADeadTokenMayBeReplacedInPeaceButNotForever(t *testing.T) {
	t.Parallel()
	s := recovering()
	s.begin(10, stable, "x")
	s.commit(11, stable, "a")
	s.get(110, "r1", stable, 1, "a", 5)
	s.put(150, stable, func(r *history.Stored) { r.Condemned = true })
	s.fails(152, "r1", "Unavailable", "CONDEMNED")
	s.fails(169, "r1", "Unavailable", "CONDEMNED")
	s.expect(t, "A2", 0, 2)
	s.fails(171, "r1", "Unavailable", "CONDEMNED")
	s.expect(t, "A2", 1, 2)
}

func TestAForcedRefreshInPeaceIsNoFault(t *testing.T) {
	t.Parallel()
	s := recovering()
	s.begin(10, stable, "x")
	s.commit(11, stable, "a")
	s.get(110, "r1", stable, 1, "a", 5)
	s.get(149, "r1", stable, 1, "a", 0)
	s.expect(t, "A2", 1, 0)
	s.get(149.5, "r1", stable, 1, "a", 5)
	s.expect(t, "A2", 1, 0) // too late
	s.Events = s.Events[:len(s.Events)-2]
	s.begin(150, stable, "y").Stored.Forced = true
	s.get(151, "r1", stable, 1, "a", 0)
	s.put(152, stable, func(r *history.Stored) { r.Forced = true })
	s.commit(152, stable, "b")
	s.get(156, "r1", stable, 1, "a", 0) // may not have heard
	s.expect(t, "A2", 0, 2)
	s.get(158, "r1", stable, 1, "a", 0)
	s.expect(t, "A2", 1, 2)
}

func TestTheTimeToRecoverIsTheSlowestReplicas(t *testing.T) {
	t.Parallel()
	s := recovering()
	s.fails(110, "r1", "Unavailable", "EXPIRED")
	s.get(112.99, "r1", stable, 1, "a", 5)
	if got := judge.Judge(s.Case).Figures.Recovery; got != 13*time.Second {
		t.Errorf("recovered after %v, not 13s", got)
	}
}

func TestTheBoundOnRecoveryCoversTheWaitsOfTheProtocol(t *testing.T) {
	t.Parallel()
	for _, overlap := range []time.Duration{2 * time.Second, 10 * time.Second, 5 * time.Minute} {
		timing := token.TimingFor(overlap)
		bound := judge.Token{Rotating: true, Overlap: overlap}.Recovery(session)
		if least := 2*session + 2*timing.W + timing.D + timing.G + timing.F; bound < least || bound > least+2*time.Minute {
			t.Error(fmt.Sprint(overlap, bound, least))
		}
		if other := (judge.Token{Overlap: overlap}).Recovery(session); other != bound-2*timing.W-timing.D {
			t.Errorf("%v for an idempotent upstream", other)
		}
	}
}
