package refresh_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// blocked is WeChat's refusal of one address for a day.
var blocked = token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Blocked, Code: "89506", RetryAfter: 24 * time.Hour}

// TestAForcedFetchOfUnknownOutcomeIsOutwaited: it may kill the token up to D after it was written, so what an ordinary fetch says in
// between proves nothing.
func TestAForcedFetchOfUnknownOutcomeIsOutwaited(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(*incarnation)
	}{
		{"by the same leader", func(*incarnation) {}},
		{"by the next leader", dieHere},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, stable, func(s *scene) {
				time.Sleep(30 * time.Minute)
				old := s.record().Value
				s.setFaults(func(f *faults) { f.fetch.slow = 1 })
				s.up.slowest.Store(int64(s.timing.D - 10*time.Second))
				s.at(stepWrite, after, func(inc *incarnation) {
					s.setFaults(func(f *faults) { f.fetch.slow = 0 })
					s.up.judge.forget(old.Reveal()) // the order itself betrays those who hold it
					c.then(inc)
				})
				lead := s.etcd.leader()
				s.wg.Go(func() {
					lead.calls[s.name] <- token.Call{Request: token.Request{Kind: token.RequestRefresh, Version: 1, Force: true}, Reply: func(token.Reply) {}}
				})
				s.until("a new token is served", 10*time.Minute, func() bool { return s.record().Clean() && s.record().Version == 2 && s.allActive() })
			})
		})
	}
}

// TestDeadAccountsDoNotStarveARotatingToken: accounts that no replica can fetch for must not keep the lead moving, since each new leader
// waits W before it fetches.
func TestDeadAccountsDoNotStarveARotatingToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJudge(t)
		specs := []simSpec{{name: classic, timing: token.TimingFor(j.overlap)}}
		for i := range 20 {
			specs = append(specs, simSpec{name: fmt.Sprintf("other%d", i), timing: token.TimingFor(j.overlap)})
		}
		c := newCluster(t, 1, 3, newUpstream(j), specs...)
		defer c.close()
		c.sync = 5 * time.Second
		for i := range c.running {
			c.start(i)
		}
		time.Sleep(time.Minute)
		c.up.refuse(func(name string, _ int) *token.Failure {
			if name == classic {
				return nil
			}
			return &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Address, Code: "40164"}
		})
		for range 6 * 60 {
			time.Sleep(time.Minute)
			if r := c.alive(0).view.Token(classic).Read(); r.State == view.Expired {
				t.Fatalf("the rotating token expired after %d terms, although every replica can fetch it", c.etcd.termCount())
			}
		}
	})
}

func TestARecordThatWasDeletedIsReplacedByAHigherVersion(t *testing.T) {
	for _, name := range []string{classic, stable} {
		t.Run(name, func(t *testing.T) {
			play(t, name, func(s *scene) {
				s.due()
				s.until("another version", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
				s.etcd.empty() // and nobody loses the lead
				s.until("the next version is higher", 3*time.Hour, func() bool { return s.record().Version == 3 && s.allActive() })
			})
		})
	}
}

// TestAStoreRestoredWithinTheTermIsNoticedByAReport: the leader goes on, and remembers what the store has lost.
func TestAStoreRestoredWithinTheTermIsNoticedByAReport(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		s.until("another version", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		s.etcd.empty()
		s.report(2)
		s.until("the next version is higher", 10*time.Minute, func() bool { return s.record().Version > 2 && !s.record().Value.IsZero() && s.allActive() })
	})
}

// TestABlockedAddressGivesUpTheLead at once: trying again does not help it, and its successor is not bound by its wait.
func TestABlockedAddressGivesUpTheLead(t *testing.T) {
	for _, c := range []struct {
		name string
		dies bool
	}{{"by itself", false}, {"by dying", true}} {
		t.Run(c.name, func(t *testing.T) {
			play(t, stable, func(s *scene) {
				lead := s.etcd.leader()
				s.up.refuse(func(_ string, replica int) *token.Failure {
					if replica != lead.replica {
						return nil
					}
					failure := blocked
					return &failure
				})
				s.due()
				if c.dies {
					s.until("the refusal", 20*time.Minute, func() bool { return s.record().Failures > 0 })
					lead.dies()
				}
				s.until("another replica has fetched", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
			})
		})
	}
}

// TestAnAdoptedTokenKeepsItsSource: the deposed leader fetched for the application that the old configuration names.
func TestAnAdoptedTokenKeepsItsSource(t *testing.T) {
	play(t, classic, func(s *scene) {
		s.due()
		old := s.up.source(classic)
		var adopted atomic.Bool
		s.at(stepAnswer, after, func(inc *incarnation) {
			s.up.renamed.Store(" of another application")
			deposeAndPause(5 * time.Second)(inc)
		})
		s.until("the orphan is adopted", 20*time.Minute, func() bool {
			if s.record().Version == 2 && s.record().Source == old {
				adopted.Store(true)
			}
			return adopted.Load()
		})
		s.until("the new application's token replaces it", 20*time.Minute, func() bool {
			return s.record().Version == 3 && s.record().Source == s.up.source(classic)
		})
	})
}

// TestAnOrphanDoesNotLiftACondemnation: a deposed leader brings the very value that has been found dead meanwhile.
func TestAnOrphanDoesNotLiftACondemnation(t *testing.T) {
	play(t, stable, func(s *scene) {
		time.Sleep(30 * time.Minute)
		s.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125"})
		for range 2 { // so that the successor is in back-off
			s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
		}
		s.up.regime(false, nil)
		woken := make(chan struct{})
		lead := s.etcd.leader()
		s.at(stepAnswer, after, func(inc *incarnation) {
			s.etcd.depose(inc)
			<-woken
		})
		s.wg.Go(func() {
			lead.calls[s.name] <- token.Call{Request: token.Request{Kind: token.RequestRefresh, Version: 1}, Reply: func(token.Reply) {}}
		})
		s.until("another leader", time.Minute, func() bool { l := s.etcd.leader(); return l != nil && l != lead })
		s.up.bury(s.record().Value)
		s.up.judge.excuse(s.record().Value.Reveal())
		s.report(1)
		close(woken)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if rec := s.record(); rec.Version == 1 && !rec.Condemned {
				t.Fatal("the dead value is no longer condemned")
			}
		}
	})
}

// TestAnOrdinaryFetchEndsWhatForceCannot: no forced fetch is left today, and the upstream does not know that the token is dead.
func TestAnOrdinaryFetchEndsWhatForceCannot(t *testing.T) {
	play(t, stable, func(s *scene) {
		for range 20 {
			time.Sleep(2 * time.Minute)
			s.up.judge.excuse(s.record().Value.Reveal())
			if r := s.ask(token.Request{Kind: token.RequestRefresh, Version: s.record().Version, Force: true}); r.Verdict != token.VerdictDone {
				t.Fatalf("verdict %q (%s), want done", r.Verdict, r.Reason)
			}
		}
		time.Sleep(2 * time.Minute)
		s.up.bury(s.record().Value)
		s.up.judge.excuse(s.record().Value.Reveal())
		version := s.record().Version
		s.report(version)
		s.until("a living token, at the latest at the end of the dead one's life", 150*time.Minute, func() bool { return s.record().Version > version })
	})
}

// TestATokenThatNeverWasIsAskedForUrgently: the first set-up, with a wrong secret or no way to the upstream.
func TestATokenThatNeverWasIsAskedForUrgently(t *testing.T) {
	for _, c := range []struct {
		failure token.Failure
		most    time.Duration
	}{
		{token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125"}, 76 * time.Second},
		{token.Failure{Outcome: token.OutcomeNone, Class: token.Unreachable, Code: "dial"}, 20 * time.Second},
	} {
		t.Run(c.failure.Code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJudge(t)
				cl := newCluster(t, 1, 1, newUpstream(j), simSpec{name: stable, timing: token.TimingFor(j.overlap)})
				defer cl.close()
				cl.up.regime(c.failure.Code == "dial", &c.failure)
				cl.start(0)
				time.Sleep(3 * time.Hour)
				cl.etcd.mu.Lock()
				defer cl.etcd.mu.Unlock()
				b := cl.etcd.begins[stable]
				if gap := b[len(b)-1].Sub(b[len(b)-2]); gap > c.most {
					t.Errorf("after 3 hours the attempts are %v apart, want at most %v", gap, c.most)
				}
			})
		})
	}
}

// TestAReplicaThatHoldsAHigherVersionIsFollowed: after a restore a leader that remembers nothing has begun at version 1 again.
func TestAReplicaThatHoldsAHigherVersionIsFollowed(t *testing.T) {
	play(t, stable, func(s *scene) {
		value := s.record().Value
		if r := s.report(7); r.Verdict != token.VerdictDone {
			t.Fatalf("verdict %q (%s), want done", r.Verdict, r.Reason)
		}
		if rec := s.record(); rec.Version != 8 || rec.Value != value {
			t.Errorf("version %d after a replica told of 7, want 8 with the value that was committed since", rec.Version)
		}
		s.until("every replica serves it", 10*time.Second, s.allActive)
		s.etcd.leader().dies()
		s.until("another leads", 20*time.Second, func() bool { return s.etcd.leader() != nil && s.etcd.leader().ctx.Err() == nil })
		if r := s.report(20); r.Verdict != token.VerdictDone {
			t.Fatalf("verdict %q (%s), want done", r.Verdict, r.Reason)
		}
		s.until("a value that the new leader did not commit is replaced", 10*time.Minute, func() bool { return s.record().Version == 21 && s.allActive() })
	})
}
