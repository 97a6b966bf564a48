package refresh_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// TestALateRequestIsOutwaited: attempt 1 times out, but its request is still under way and processed almost D later. Were attempt 2
// begun before that, its token would be rotated away while it is promised.
func TestALateRequestIsOutwaited(t *testing.T) {
	for _, c := range []struct {
		name string
		also func(*incarnation)
	}{
		{"by the same leader", func(*incarnation) {}},
		{"by the next leader", dieHere},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, classic, func(s *scene) {
				s.due()
				s.setFaults(func(f *faults) { f.fetch.slow = 1 })
				s.up.slowest.Store(int64(s.timing.D - time.Second))
				s.at(stepWrite, after, func(inc *incarnation) {
					s.setFaults(func(f *faults) { f.fetch.slow = 0 })
					s.up.slowest.Store(0)
					c.also(inc)
				})
				s.until("a second attempt has brought a token", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
				begins := s.begins()
				if len(begins) != 3 {
					t.Fatalf("%d attempts, want 3", len(begins))
				}
				if gap := begins[2].Sub(begins[1]); gap < s.timing.W {
					t.Errorf("the second attempt began %v after the first, want at least %v", gap, s.timing.W)
				}
				time.Sleep(10 * time.Minute) // every promise is judged at its end
			})
		})
	}
}

// TestALostAnswerIsNotRetriedAtOnce: token k+1 was issued, its answer is lost. An immediate retry would issue k+2 and kill k under
// callers who were promised W.
func TestALostAnswerIsNotRetriedAtOnce(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		s.setFaults(func(f *faults) { f.fetch.lost = 1 })
		s.at(stepWrite, after, func(*incarnation) { s.setFaults(func(f *faults) { f.fetch.lost = 0 }) })
		s.until("the attempt is pending", 20*time.Minute, func() bool { return s.record().Pending != nil })
		pending := time.Now()
		s.until("a token is committed", 20*time.Minute, func() bool { return s.record().Version == 2 })
		if waited := time.Since(pending); waited < s.timing.W || waited > s.timing.W+30*time.Second {
			t.Errorf("the retry was committed %v after the lost answer, want a little more than %v", waited, s.timing.W)
		}
	})
}

// TestDoubtOutlivesARefusal: k+1 was issued and its answer lost; the retry is refused. The refusal says nothing about the first
// attempt, so k must not be called active again.
func TestDoubtOutlivesARefusal(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		s.setFaults(func(f *faults) { f.fetch.lost = 1 })
		s.at(stepWrite, after, func(*incarnation) {
			s.setFaults(func(f *faults) { f.fetch.lost = 0 })
			s.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125"})
		})
		s.until("the retry is refused", 20*time.Minute, func() bool { return s.record().Resolved.Outcome == token.OutcomeNone })
		if rec := s.record(); !rec.Doubt || !rec.Drained || rec.Pending != nil {
			t.Errorf("after the refusal the record is %+v, want doubt, drained, nothing pending", rec)
		}
		time.Sleep(5 * time.Second)
		for range 60 {
			time.Sleep(time.Second)
			for i := range s.running {
				if r := s.alive(i).view.Token(classic).Read(); r.State == view.Active {
					t.Fatalf("replica %d promises a token in doubt for %v", i, r.TTL)
				}
			}
		}
		s.up.regime(false, nil)
		s.until("the doubt is over", 20*time.Minute, func() bool { return s.record().Version == 2 && s.record().Clean() && s.allActive() })
	})
}

// TestALateOrphanSurvivesACommit: a leader that was paused far beyond P between its last look at the clock and the write wakes
// deposed. Its request is processed after its successor's, so the successor's token dies unseen, unless the orphan that says so
// survives the successor's COMMIT.
func TestALateOrphanSurvivesACommit(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		woken := make(chan struct{})
		s.at(stepPause, before, func(inc *incarnation) {
			s.at(stepCommit, before, func(*incarnation) { // the successor's
				woken <- struct{}{}
				for wait := 0; len(s.etcd.read(classic).Orphans) == 0; wait++ {
					if wait == 100 {
						t.Error("the leader that woke deposed left no orphan")
						return
					}
					time.Sleep(time.Second)
				}
			})
			s.etcd.depose(inc)
			<-woken
		})
		s.until("the successor has committed", 20*time.Minute, func() bool { return s.record().Version == 2 })
		// From here the pause was longer than P, so version 2 may be promised although it was rotated away: a stated non-guarantee.
		s.up.judge.excuse(s.record().Value.Reveal())
		s.until("the cluster has healed", 10*time.Minute, func() bool {
			return s.record().Version == 3 && s.allActive() && s.up.judge.aliveAt(s.record().Value.Reveal(), time.Now())
		})
		if left := s.etcd.read(classic).Orphans; len(left) != 0 {
			t.Errorf("orphans are left: %v", left)
		}
	})
}

// TestTSyncIsAnchoredAtTheSending: the answer to a read that was made before BEGIN arrives after the issue. Counted from the arrival,
// W would outlive the overlap. The second half takes the mechanism out, and must see a broken promise.
func TestTSyncIsAnchoredAtTheSending(t *testing.T) {
	for _, c := range []struct {
		name   string
		mutate mutation
		broken bool
	}{
		{"anchored at the sending", mutation{}, false},
		{"anchored at the arrival", mutation{syncAtReceive: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJudge(t)
				w := newCluster(t, 1, 2, newUpstream(j), simSpec{name: classic, timing: token.TimingFor(j.overlap)})
				w.mutate = c.mutate
				follower := w.start(1)
				time.Sleep(time.Second)
				w.start(0)
				time.Sleep(time.Minute)
				if w.etcd.leader() != follower {
					t.Fatal("the first replica does not lead")
				}
				lagging := w.alive(0)
				lagging.link.set(false, 90*time.Second) // each message to and from etcd takes so long
				for range 4 * 60 * 60 {
					time.Sleep(time.Second)
					if r := lagging.view.Token(classic).Read(); r.State == view.Active {
						j.promise(r.Record.Value.Reveal(), lagging.name, r.TTL)
					}
				}
				w.close()
				if broken := len(j.broken()) > 0; broken != c.broken {
					t.Errorf("promises broken: %v, want %v: %v", broken, c.broken, j.broken())
				}
			})
		})
	}
}

// TestTheFenceAndTheRevisionAreBothNeeded lets an etcd without one of the comparisons run into a deposed leader and a late
// transaction, and must see two values of one version; with both, none.
func TestTheFenceAndTheRevisionAreBothNeeded(t *testing.T) {
	for _, c := range []struct {
		name               string
		noFence, noCompare bool
		broken             bool
	}{
		{"both", false, false, false},
		{"no comparison", true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJudge(t)
				w := newCluster(t, 1, 2, newUpstream(j), simSpec{name: classic, timing: token.TimingFor(j.overlap)})
				w.etcd.noFence, w.etcd.noCompare = c.noFence, c.noCompare
				w.start(0)
				w.start(1)
				time.Sleep(time.Minute)
				w.at(stepAnswer, after, deposeAndPause(token.TimingFor(j.overlap).W+10*time.Second))
				time.Sleep(3 * time.Hour)
				conflicts := w.etcd.takeConflicts()
				w.close()
				if (len(conflicts) > 0) != c.broken {
					t.Errorf("the conflicts are %q, want some: %v", conflicts, c.broken)
				}
			})
		})
	}
}

// TestALeaderThatCannotReachTheUpstreamHandsOver: without it the cluster may never recover.
func TestALeaderThatCannotReachTheUpstreamHandsOver(t *testing.T) {
	play(t, classic, func(s *scene) {
		lead := s.etcd.leader()
		s.up.block(lead.replica, true)
		s.due()
		s.until("another replica leads and has refreshed", 30*time.Minute, func() bool {
			return s.etcd.leader() != lead && s.record().Version == 2 && s.allActive()
		})
	})
}

// TestLeadershipComesToRestWhenNobodyReachesTheUpstream: handing over in circles would help nobody, and postpone other tokens'
// refreshes for ever.
func TestLeadershipComesToRestWhenNobodyReachesTheUpstream(t *testing.T) {
	play(t, stable, func(s *scene) {
		for i := range s.running {
			s.up.block(i, true)
		}
		s.due()
		before := s.etcd.termCount()
		time.Sleep(40 * time.Minute)
		if changes := s.etcd.termCount() - before; changes > len(s.running) {
			t.Errorf("leadership changed %d times in 40 minutes although no replica reaches the upstream", changes)
		}
		for i := range s.running {
			s.up.block(i, false)
		}
		s.until("the token is refreshed when the upstream can be reached again", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
	})
}

// TestALateRequestOfItsOwnIsOutwaited: the leader was paused for longer than P before the write, but not deposed. Its next attempt
// waits until that request is surely over, which is later than W after BEGIN.
func TestALateRequestOfItsOwnIsOutwaited(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		s.setFaults(func(f *faults) { f.fetch.slow = 1 })
		s.up.slowest.Store(int64(s.timing.D - time.Second))
		var written atomic.Pointer[time.Time]
		s.at(stepPause, before, func(*incarnation) {
			time.Sleep(s.timing.W - 45*time.Second)
			now := time.Now()
			written.Store(&now)
		})
		s.until("the second attempt has begun", 20*time.Minute, func() bool { return len(s.begins()) == 3 })
		s.setFaults(func(f *faults) { f.fetch.slow = 0 })
		if gap := s.begins()[2].Sub(*written.Load()); gap < s.timing.D {
			t.Errorf("the next attempt began %v after the late write, want at least D, %v", gap, s.timing.D)
		}
		s.until("the cluster has healed", 10*time.Minute, func() bool {
			return s.record().Version == 2 && s.allActive() && s.up.judge.aliveAt(s.record().Value.Reveal(), time.Now())
		})
	})
}

// TestASupersededOrphanIsDropped: a leader wakes deposed when its successor has fetched already. Its token is older than the
// successor's, whatever its orphan says.
func TestASupersededOrphanIsDropped(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		var woke atomic.Bool
		s.at(stepAnswer, after, func(inc *incarnation) {
			deposeAndPause(s.timing.W + time.Minute)(inc)
			woke.Store(true)
		})
		s.until("the successor has committed", 20*time.Minute, func() bool { return s.record().Version == 2 })
		value := s.record().Value
		s.until("the deposed leader is awake", 10*time.Minute, woke.Load)
		s.until("its orphan is dropped", time.Minute, func() bool {
			return len(s.etcd.read(classic).Orphans) == 0 && s.etcd.orphanCount() == 1
		})
		if rec := s.record(); rec.Version != 2 || rec.Value != value {
			t.Errorf("version %d is current after the superseded orphan, want 2 with its value", rec.Version)
		}
	})
}

// TestARequestIsNotWrittenAfterG: dialling took too long, so that the order of requests could not be vouched for.
func TestARequestIsNotWrittenAfterG(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		s.up.dialling.Store(int64(s.timing.G + time.Second))
		s.until("the attempt is aborted", 20*time.Minute, func() bool { return s.record().LastFailure.Code == "not_written" })
		if got := s.up.judge.issues(); got != 1 {
			t.Errorf("the upstream issued %d tokens, want 1", got)
		}
		s.up.dialling.Store(0)
		s.until("the next attempt succeeds", 5*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
	})
}

// TestResigningSettlesTheFetchInFlight: a leader that resigns begins nothing, and brings home what is under way.
func TestResigningSettlesTheFetchInFlight(t *testing.T) {
	for _, c := range []struct {
		name     string
		step     step
		moment   moment
		attempts int
	}{
		{"before the write: ABORT, and the successor need not wait for it", stepWrite, before, 3},
		{"after the write: COMMIT", stepWrite, after, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, classic, func(s *scene) {
				s.due()
				var resigned atomic.Bool
				s.at(c.step, c.moment, func(inc *incarnation) {
					inc.resign <- struct{}{}
					time.Sleep(10 * time.Millisecond) // until the term's context has ended
					resigned.Store(true)
				})
				s.until("the leader resigns", 20*time.Minute, resigned.Load)
				s.until("nothing is pending", s.timing.F+time.Second, func() bool { return s.record().Pending == nil })
				s.until("version 2 is served", 10*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
				if got := len(s.begins()); got != c.attempts {
					t.Errorf("%d attempts, want %d", got, c.attempts)
				}
				if got := s.up.judge.issues(); got != 2 {
					t.Errorf("the upstream issued %d tokens, want 2", got)
				}
			})
		})
	}
}

// TestAnEmptiedStoreDoesNotTurnVersionsBack: the store loses everything while replicas hold version 3.
func TestAnEmptiedStoreDoesNotTurnVersionsBack(t *testing.T) {
	play(t, classic, func(s *scene) {
		for v := int64(2); v <= 3; v++ {
			s.due()
			s.until("another version", 20*time.Minute, func() bool { return s.record().Version == v && s.allActive() })
		}
		s.etcd.empty()
		lead := s.etcd.leader()
		lead.dies() // the next leader reads what is left
		s.until("the next version is higher than any before", 20*time.Minute, func() bool { return s.record().Version == 4 && s.allActive() })
	})
}

// TestABeginWithAnUnknownFateIsNeverWritten: etcd does not answer BEGIN within G, although it has done it.
func TestABeginWithAnUnknownFateIsNeverWritten(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		lead := s.etcd.leader()
		s.at(stepBegin, after, func(inc *incarnation) {
			inc.link.set(true, 0)
			s.wg.Go(func() {
				_ = nap(context.Background(), 8*time.Second)
				inc.link.set(false, 0)
			})
		})
		s.until("the attempt is seen pending", 20*time.Minute, func() bool { return s.record().Pending != nil })
		s.until("it is aborted", 30*time.Second, func() bool { return s.record().Pending == nil })
		if got := s.up.judge.issues(); got != 1 {
			t.Errorf("the upstream issued %d tokens, want 1: the request must not have been written", got)
		}
		if spent := s.record().Spent.Fetches; spent != 1 {
			t.Errorf("%d fetches are counted, want 1: the upstream never saw the second", spent)
		}
		s.until("the next attempt succeeds", 5*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		if s.etcd.leader() != lead {
			t.Error("leadership changed")
		}
	})
}
