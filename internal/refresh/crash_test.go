package refresh_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// TestWhereverTheLeaderDiesNoCallerIsBetrayed has the leader of a rotating token die at each line of the protocol, just when a
// refresh is due. The callers' promises are judged all along.
func TestWhereverTheLeaderDiesNoCallerIsBetrayed(t *testing.T) {
	for _, c := range []struct {
		name     string
		step     step
		moment   moment
		pending  bool // what the store shows then
		waits    bool // the next leader waits W before its attempt
		attempts int  // in all, the first token's included
		fetches  int  // tokens issued by the upstream
	}{
		{"before BEGIN", stepBegin, before, false, true, 2, 2},
		{"between BEGIN and the write", stepWrite, before, true, true, 3, 2},
		{"between the write and the answer", stepWrite, after, true, true, 3, 3},
		{"between the answer and COMMIT", stepAnswer, after, true, true, 3, 3},
		{"before COMMIT is sent", stepCommit, before, true, true, 3, 3},
		{"after COMMIT, its answer not seen", stepCommit, after, false, false, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, classic, func(s *scene) {
				type death struct {
					at    time.Time
					shown token.Record
				}
				var dead atomic.Pointer[death]
				s.due()
				s.at(c.step, c.moment, func(inc *incarnation) {
					dead.Store(&death{time.Now(), s.record()})
					inc.dies()
				})
				s.until("the leader is dead", 20*time.Minute, func() bool { return dead.Load() != nil })
				died := dead.Load().at
				if got := dead.Load().shown.Pending != nil; got != c.pending {
					t.Errorf("the store shows pending = %v, want %v", got, c.pending)
				}
				s.until("the survivors hold a new token", 10*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
				begins := s.begins()
				if len(begins) != c.attempts {
					t.Errorf("%d attempts, want %d", len(begins), c.attempts)
				}
				if got := s.up.judge.issues(); got != c.fetches {
					t.Errorf("the upstream issued %d tokens, want %d", got, c.fetches)
				}
				if wait := begins[len(begins)-1].Sub(died); c.waits && wait < s.timing.W {
					t.Errorf("the next leader began %v after the crash, before the quiet wait of %v was over", wait, s.timing.W)
				}
				if rec := s.record(); !rec.Clean() || rec.Drained {
					t.Errorf("the record is not clean: %+v", rec)
				}
			})
		})
	}
}

// TestADeposedLeaderThatDiesBeforeItsOrphanIsWritten is the line of the crash table that needs two misfortunes.
func TestADeposedLeaderThatDiesBeforeItsOrphanIsWritten(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		gone := make(chan struct{})
		s.at(stepAnswer, after, func(inc *incarnation) {
			s.etcd.depose(inc)
			s.at(stepOrphan, before, func(inc *incarnation) {
				inc.dies()
				close(gone)
			})
		})
		s.until("the deposed leader is dead", 20*time.Minute, func() bool {
			select {
			case <-gone:
				return true
			default:
				return false
			}
		})
		if len(s.etcd.read(classic).Orphans) != 0 {
			t.Error("an orphan was written after the death")
		}
		s.until("the survivors hold a new token", 10*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		if got := s.up.judge.issues(); got != 3 {
			t.Errorf("the upstream issued %d tokens, want 3: the orphaned one is lost", got)
		}
	})
}

// TestADeposedLeaderThatWakesLeavesItsToken: paused after the answer, deposed meanwhile, it wakes with a token that nobody else has.
func TestADeposedLeaderThatWakesLeavesItsToken(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		s.at(stepAnswer, after, deposeAndPause(30*time.Second))
		s.until("the new leader adopts the orphan", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		if got := s.up.judge.issues(); got != 2 {
			t.Errorf("the upstream issued %d tokens, want 2: the orphan makes another fetch unnecessary", got)
		}
		if got := len(s.begins()); got != 2 {
			t.Errorf("%d attempts, want 2", got)
		}
		if left := s.etcd.read(classic).Orphans; len(left) != 0 {
			t.Errorf("the orphan was not deleted: %v", left)
		}
	})
}

// TestADeposedLeaderThatWakesSaysThatNothingWasIssued: its attempt was refused for certain, so the successor need not wait.
func TestADeposedLeaderThatWakesSaysThatNothingWasIssued(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		s.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Transient, Code: "45011"})
		var woke time.Time
		s.at(stepAnswer, after, func(inc *incarnation) {
			deposeAndPause(20 * time.Second)(inc)
			s.up.regime(false, nil)
			woke = time.Now()
		})
		s.until("the new leader has a token", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		if waited := time.Since(woke); waited > time.Minute {
			t.Errorf("the new leader began only %v after the orphan that set it free", waited)
		}
		if got := s.up.judge.issues(); got != 2 {
			t.Errorf("the upstream issued %d tokens, want 2", got)
		}
	})
}

// TestAHealthyTokenIsNotFetchedOnFailover: a crash outside of a refresh costs nothing.
func TestAHealthyTokenIsNotFetchedOnFailover(t *testing.T) {
	for _, name := range []string{classic, stable} {
		t.Run(name, func(t *testing.T) {
			play(t, name, func(s *scene) {
				for range 5 {
					lead := s.etcd.leader()
					lead.dies()
					s.until("another replica leads", 20*time.Second, func() bool { l := s.etcd.leader(); return l != nil && l != lead })
					time.Sleep(6 * time.Minute)
					s.start(lead.replica)
				}
				if got := len(s.begins()); got != 1 {
					t.Errorf("%d attempts after 5 failovers of a healthy token, want 1", got)
				}
			})
		})
	}
}
