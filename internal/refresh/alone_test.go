package refresh_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// local reports how many of the living replicas serve what they fetched alone.
func (s *scene) local() int {
	n := 0
	for i := range s.running {
		if inc := s.alive(i); inc != nil && inc.view.Token(s.name).Local() > 0 {
			n++
		}
	}
	return n
}

// highest is the highest version that any living replica serves.
func (s *scene) highest() int64 {
	var highest int64
	for i := range s.running {
		if inc := s.alive(i); inc != nil {
			highest = max(highest, inc.view.Token(s.name).Read().Record.Version)
		}
	}
	return highest
}

// mustStayActive asks every replica each second, for so long.
func (s *scene) mustStayActive(d time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		for i := range s.running {
			if inc := s.alive(i); inc != nil {
				if r := inc.view.Token(s.name).Read(); r.State != view.Active {
					s.t.Fatalf("%s is %v, with %v left", inc.name, r.State, r.Nominal)
				}
			}
		}
	}
}

// mustHeal gives etcd back with heal, and waits until all replicas serve one committed version, which is higher than any that was served
// alone. Meanwhile nobody notices anything.
func (s *scene) mustHeal(heal func()) {
	s.t.Helper()
	highest := s.highest()
	heal()
	s.mustStayActive(time.Minute)
	s.until("every replica serves one version of the store's", time.Second, func() bool { return s.local() == 0 && s.allActive() })
	if got := s.record(); got.Version <= highest || got.Floor != 0 {
		s.t.Errorf("version %d with floor %d was committed, want a version above %d and no floor", got.Version, got.Floor, highest)
	}
}

func TestAnIdempotentTokenOutlivesEtcd(t *testing.T) {
	play(t, stable, func(s *scene) {
		before := s.up.judge.issues()
		s.darken(true)
		s.mustStayActive(24 * time.Hour)
		if got := s.local(); got != len(s.running) {
			t.Errorf("%d replicas serve what they fetched alone, want all", got)
		}
		// In a day twelve tokens follow each other, and each replica asks once or twice for each.
		if got := s.lone.Load(); got > 3*26 {
			t.Errorf("%d fetches in a day", got)
		}
		if got := s.up.judge.issues() - before; got > 13 {
			t.Errorf("%d tokens were issued in a day", got)
		}
		for _, issued := range s.up.judge.wechat.History() {
			if issued.Forced {
				t.Error("a replica that was cut off forced a refresh")
			}
		}
		s.mustHeal(func() { s.darken(false) })
	})
}

func TestOneReplicaThatIsCutOffKeepsItsTokenAndComesBack(t *testing.T) {
	play(t, stable, func(s *scene) {
		cut := s.alive(0)
		if s.etcd.leader() == cut {
			cut = s.alive(1)
		}
		cut.cut()
		s.mustStayActive(5 * time.Hour)
		if cut.view.Token(stable).Local() == 0 || s.local() != 1 {
			t.Errorf("%d replicas serve what they fetched alone, want just the one that is cut off", s.local())
		}
		s.mustHeal(func() { cut.link.set(false, 0) })
	})
}

func TestARotatingTokenIsNeverFetchedAlone(t *testing.T) {
	play(t, classic, func(s *scene) {
		before := s.up.judge.issues()
		s.darken(true)
		time.Sleep(24 * time.Hour)
		if got := s.up.judge.issues() - before; got != 0 || s.lone.Load() != 0 {
			t.Errorf("%d tokens were issued while etcd was away", got)
		}
		for i := range s.running {
			if r := s.alive(i).view.Token(classic).Read(); r.State != view.Expired {
				t.Errorf("replica %d says %v a day after the last token", i, r.State)
			}
		}
		s.darken(false)
		s.until("a new token", 10*time.Minute, s.allActive)
	})
}

// A replica that starts into the outage knows no version of the cluster's; what it makes up must be higher than any.
func TestAReplicaThatStartsWithoutEtcdFetchesAlone(t *testing.T) {
	play(t, stable, func(s *scene) {
		time.Sleep(30 * time.Minute)
		s.darken(true)
		s.kill(0)
		time.Sleep(time.Minute)
		inc := s.start(0)
		s.until("the new replica serves", 15*time.Second, func() bool { return inc.view.Token(stable).Read().State == view.Active })
		if got := inc.view.Token(stable).Local(); got <= s.record().Version {
			t.Errorf("the version is %d, which the cluster has passed: it is at %d", got, s.record().Version)
		}
		s.mustStayActive(3 * time.Hour)
		s.mustHeal(func() { s.darken(false) })
	})
}

func TestFetchesAloneKeepTheirDistanceAndTheirBudget(t *testing.T) {
	playWith(t, simSpec{name: stable, policy: refresh.Policy{DailyBudget: 60, Reserve: 20}}, func(s *scene) {
		tried := map[int][]time.Time{}
		s.up.refuse(func(_ string, replica int) *token.Failure {
			tried[replica] = append(tried[replica], time.Now()) // under the upstream's lock
			return &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Transient, Code: "-1"}
		})
		s.darken(true)
		time.Sleep(12 * time.Hour)
		s.up.mu.Lock()
		defer s.up.mu.Unlock()
		if got := slices.Sorted(maps.Keys(tried)); len(got) != len(s.running) {
			t.Fatalf("only the replicas %v tried", got)
		}
		for replica, times := range tried {
			for i := range times[1:] {
				if gap := times[i+1].Sub(times[i]); gap < time.Minute {
					t.Errorf("replica %d tried twice within %v", replica, gap)
				}
			}
			// The outage began on one day of the upstream's calendar and ended on the next, perhaps.
			if len(times) < 20 || len(times) > 2*20 {
				t.Errorf("replica %d tried %d times, want the reserve, which is 20 a day", replica, len(times))
			}
		}
	})
}

// While it is only slow to hear, a replica leaves fetching to the leader.
func TestAReplicaInSyncNeverFetchesAlone(t *testing.T) {
	play(t, stable, func(s *scene) {
		for i := range s.running {
			s.alive(i).link.set(false, 1500*time.Millisecond)
		}
		s.mustStayActive(24 * time.Hour)
		if got := s.lone.Load(); got != 0 {
			t.Errorf("%d fetches alone", got)
		}
	})
}

// A healthy token needs no fetch to get a version above one that a replica made up.
func TestAFloorRaisesTheVersionOfAHealthyToken(t *testing.T) {
	play(t, stable, func(s *scene) {
		time.Sleep(30 * time.Minute)
		begun, value := len(s.begins()), s.record().Value
		for range 5 {
			if r := s.ask(token.Request{Kind: token.RequestFloor, Version: 1_000_000}); r.Verdict != token.VerdictDone {
				t.Fatalf("verdict %q (%s), want done", r.Verdict, r.Reason)
			}
		}
		s.until("the version is above the floor", 10*time.Second, func() bool { return s.record().Version == 1_000_001 && s.allActive() })
		if r := s.ask(token.Request{Kind: token.RequestFloor, Version: 999}); r.Verdict != token.VerdictDone {
			t.Errorf("verdict %q (%s) on a floor that was passed, want done", r.Verdict, r.Reason)
		}
		time.Sleep(time.Minute)
		if got := s.record(); len(s.begins()) != begun || got.Value != value || got.Floor != 0 || got.Version != 1_000_001 {
			t.Errorf("%d fetches, version %d, floor %d; want none, the same value as version 1000001, and no floor", len(s.begins())-begun, got.Version, got.Floor)
		}
	})
}

// One that has to be fetched anyway gets the version with that.
func TestAFloorUnderATokenNearItsEndBringsOneFetchAboveIt(t *testing.T) {
	play(t, stable, func(s *scene) {
		s.up.refuse(func(string, int) *token.Failure {
			return &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Transient, Code: "-1"}
		})
		time.Sleep(2*time.Hour - time.Minute)
		if r := s.ask(token.Request{Kind: token.RequestFloor, Version: 1_000_000}); r.Verdict != token.VerdictDone {
			t.Fatalf("verdict %q (%s), want done", r.Verdict, r.Reason)
		}
		if got := s.record(); got.Version != 1 || got.Floor != 1_000_000 {
			t.Errorf("version %d, floor %d; want 1 and the floor", got.Version, got.Floor)
		}
		s.up.refuse(nil)
		s.until("the version is above the floor", 50*time.Second, func() bool { return s.record().Version == 1_000_001 && s.allActive() })
		if got := s.record().Floor; got != 0 {
			t.Errorf("the floor is %d, want none", got)
		}
	})
}

// The leader may be the one that went alone.
func TestALeaderGoesAboveItsOwnLocalVersion(t *testing.T) {
	play(t, stable, func(s *scene) {
		for i := range s.running {
			if inc := s.alive(i); inc != s.etcd.leader() {
				s.kill(i)
			}
		}
		s.darken(true)
		s.mustStayActive(3 * time.Hour)
		s.mustHeal(func() { s.darken(false) })
	})
}

func TestALeaderRefusesRequestsThatItDoesNotKnow(t *testing.T) {
	play(t, stable, func(s *scene) {
		if r := s.ask(token.Request{Kind: "future", Version: 1}); r.Verdict != token.VerdictFailed || !contains(r.Reason, `"future"`) {
			t.Errorf("verdict %q (%s), want failed, naming the kind", r.Verdict, r.Reason)
		}
	})
}
