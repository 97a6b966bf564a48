package refresh_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// unlisted is WeChat's refusal of an address that is not on the whitelist.
var unlisted = token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Address, Code: "40164", Remedy: "list it"}

// TestWhatToDoAboutAReplicasPlaceIsSaidUntilThatReplicaHasFetched: that another one can fetch mends nothing.
func TestWhatToDoAboutAReplicasPlaceIsSaidUntilThatReplicaHasFetched(t *testing.T) {
	refreshNow := token.Request{Kind: token.RequestRefresh, Version: 1}
	play(t, stable, func(s *scene) {
		place := s.etcd.leader().replica
		s.up.refuse(func(_ string, replica int) *token.Failure {
			if replica != place {
				return nil
			}
			failure := unlisted
			return &failure
		})
		for range 3 {
			s.ask(refreshNow)
		}
		s.until("another replica leads", 10*time.Second, func() bool { l := s.etcd.leader(); return l != nil && l.replica != place })
		if r := s.ask(refreshNow); r.Verdict != token.VerdictUnchanged {
			t.Fatalf("verdict %q (%s), want unchanged", r.Verdict, r.Reason)
		}
		if f := s.record().LastFailure; s.record().Failures != 0 || f.Remedy != "list it" || f.Replica != fmt.Sprintf("r%d", place) {
			t.Errorf("after another replica's success %d failures, the last %+v; want it still to say what to do about r%d", s.record().Failures, f, place)
		}

		s.up.refuse(nil)
		for s.etcd.leader() == nil || s.etcd.leader().replica != place {
			if lead := s.etcd.leader(); lead != nil {
				lead.resign <- struct{}{}
			}
			time.Sleep(5 * time.Second)
		}
		if r := s.ask(refreshNow); r.Verdict != token.VerdictUnchanged {
			t.Fatalf("verdict %q (%s), want unchanged", r.Verdict, r.Reason)
		}
		if f := s.record().LastFailure; f.Remedy != "" || f.Code != "40164" {
			t.Errorf("after its own success the last failure is %+v; want it without anything to do", f)
		}
	})
}

func TestWhatToDoAboutAnAccountIsSaidUntilAnyReplicaHasFetched(t *testing.T) {
	play(t, stable, func(s *scene) {
		s.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125", Remedy: "mend it"})
		s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
		if f := s.record().LastFailure; f.Remedy != "mend it" {
			t.Errorf("the failure is %+v", f)
		}
		s.up.regime(false, nil)
		s.etcd.leader().dies()
		s.until("another leads", 20*time.Second, func() bool { return s.etcd.leader() != nil && s.etcd.leader().ctx.Err() == nil })
		s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
		if f := s.record().LastFailure; f.Remedy != "" || f.Code != "40125" {
			t.Errorf("the failure is %+v; want it without anything to do", f)
		}
	})
}

// TestTheLeadIsGivenUpAgainAtOnceIfThatWasOfUse: the others are restarted soon after, so that the refused replica leads once more.
func TestTheLeadIsGivenUpAgainAtOnceIfThatWasOfUse(t *testing.T) {
	play(t, stable, func(s *scene) {
		place := s.etcd.leader().replica
		s.up.refuse(func(_ string, replica int) *token.Failure {
			if replica != place {
				return nil
			}
			failure := unlisted
			return &failure
		})
		for round := range 3 {
			for range 3 {
				s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
			}
			s.until(fmt.Sprintf("another replica leads, time %d", round), 10*time.Second, func() bool {
				l := s.etcd.leader()
				return l != nil && l.replica != place
			})
			s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
			for s.etcd.leader() == nil || s.etcd.leader().replica != place {
				if lead := s.etcd.leader(); lead != nil {
					lead.resign <- struct{}{}
				}
				time.Sleep(5 * time.Second)
			}
		}
	})
}

// TestLeadershipRestsWhereTheUpstreamCanBeReached: one replica of three is refused, again and again over days; the lead is given up by it
// alone, and comes to rest.
func TestLeadershipRestsWhereTheUpstreamCanBeReached(t *testing.T) {
	play(t, classic, func(s *scene) {
		place := s.etcd.leader().replica
		s.up.refuse(func(_ string, replica int) *token.Failure {
			if replica != place {
				return nil
			}
			failure := unlisted
			return &failure
		})
		before := s.etcd.termCount()
		time.Sleep(48 * time.Hour)
		if lead := s.etcd.leader(); lead == nil || lead.replica == place {
			t.Error("the replica that is refused leads")
		}
		if n := s.etcd.termCount() - before; n != 1 {
			t.Errorf("%d changes of leader within two days, want 1", n)
		}
		if !s.allActive() {
			t.Error("the token is not served everywhere")
		}
	})
}
