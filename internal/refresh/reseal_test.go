package refresh_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

var reseal = token.Request{Kind: token.RequestReseal, Version: 7}

// TestARecordThatIsSealedAnewIsTheSame, whatever state it is in, and nobody sees anything of it.
func TestARecordThatIsSealedAnewIsTheSame(t *testing.T) {
	lose := func(s *scene) {
		s.setFaults(func(f *faults) { f.fetch.lost = 1 })
		s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
		s.setFaults(func(f *faults) { f.fetch.lost = 0 })
	}
	for _, c := range []struct {
		name, token string
		happens     func(*scene)
		is          func(token.Record) bool
	}{
		{"healthy", classic, func(*scene) {}, token.Record.Clean},
		{"healthy, idempotent", stable, func(*scene) {}, token.Record.Clean},
		{"an attempt is pending", classic, lose, func(r token.Record) bool { return r.Pending != nil }},
		{"in doubt", classic, func(s *scene) { s.ask(token.Request{Kind: token.RequestDoubt, Version: 1}) }, func(r token.Record) bool { return r.Doubt }},
		{"condemned", classic, func(s *scene) {
			s.killCurrent()
			go s.report(1)
			s.until("it is condemned", time.Minute, func() bool { return s.record().Condemned })
		},
			func(r token.Record) bool { return r.Condemned }},
		{"refused", stable, func(s *scene) {
			s.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125"})
			s.ask(token.Request{Kind: token.RequestRefresh, Version: 1})
		}, func(r token.Record) bool { return r.Failures > 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, c.token, func(s *scene) {
				c.happens(s)
				time.Sleep(2 * time.Second) // everybody has heard
				before, begins, promised := s.etcd.read(s.name), len(s.begins()), s.promises()
				if !c.is(before.Record) {
					t.Fatalf("the record is %+v", before.Record)
				}
				for range 3 {
					if r := s.ask(reseal); r.Verdict != token.VerdictDone {
						t.Fatalf("verdict %q: %s", r.Verdict, r.Reason)
					}
				}
				after := s.etcd.read(s.name)
				if d := cmp.Diff(before.Record, after.Record, cmp.Comparer(func(a, b token.Secret) bool { return a == b })); d != "" {
					t.Errorf("the record changed (-before +after):\n%s", d)
				}
				if after.Revision == before.Revision || len(s.begins()) != begins {
					t.Errorf("revision %d became %d, and %d attempts %d", before.Revision, after.Revision, begins, len(s.begins()))
				}
				time.Sleep(time.Second)
				for i, now := range s.promises() {
					// A second or two of proofs lie in between, which renew some promises.
					if then := promised[i]; now.State != then.State || now.Record.Version != then.Record.Version || (now.TTL-then.TTL).Abs() > 5*time.Second {
						t.Errorf("replica %d promised %v for %v, and then %v for %v", i, then.State, then.TTL, now.State, now.TTL)
					}
				}
			})
		})
	}
}

// promises are what every replica promises.
func (s *scene) promises() []view.Reading {
	all := make([]view.Reading, len(s.running))
	for i := range s.running {
		all[i] = s.alive(i).view.Token(s.name).Read()
	}
	return all
}

// TestSealingAnewAgainAndAgainPutsNoAttemptOff, and brings none forward: not the one that is due, nor the one after a quiet wait.
func TestSealingAnewAgainAndAgainPutsNoAttemptOff(t *testing.T) {
	for _, name := range []string{classic, stable} {
		t.Run(name, func(t *testing.T) {
			attempts := func(busy bool) []time.Duration {
				var at []time.Duration
				play(t, name, func(s *scene) {
					began := time.Now()
					s.setFaults(func(f *faults) { f.fetch.lost = 1 })
					s.due()
					for end := time.Now().Add(25 * time.Minute); time.Now().Before(end); time.Sleep(7 * time.Second) {
						if len(s.begins()) == 2 { // and the first one after the fault is to succeed
							s.setFaults(func(f *faults) { f.fetch.lost = 0 })
						}
						if busy {
							s.ask(reseal)
						}
					}
					if s.record().Version != 2 || !s.allActive() {
						t.Errorf("version %d", s.record().Version)
					}
					for _, begin := range s.begins() {
						at = append(at, begin.Sub(began))
					}
				})
				return at
			}
			quiet, busy := attempts(false), attempts(true)
			if len(quiet) < 3 || len(busy) != len(quiet) {
				t.Fatalf("%d attempts, and %d while the record is sealed anew", len(quiet), len(busy))
			}
			for i := range quiet {
				if d := (busy[i] - quiet[i]).Abs(); d > 10*time.Second { // the answers to the requests take a moment each
					t.Errorf("attempt %d began after %v, and %v while the record is sealed anew", i, quiet[i], busy[i])
				}
			}
		})
	}
}

// TestATokenThatWasNeverFetchedIsNotWritten: nothing is sealed yet.
func TestATokenThatWasNeverFetchedIsNotWritten(t *testing.T) {
	play(t, stable, func(s *scene) {
		s.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125"})
		s.etcd.empty()
		s.until("the leader has noticed", 3*time.Hour, func() bool { return s.record().Value.IsZero() && s.record().Version > 0 })
		before := s.etcd.read(s.name)
		if r := s.ask(reseal); r.Verdict != token.VerdictDone {
			t.Errorf("verdict %q", r.Verdict)
		}
		if after := s.etcd.read(s.name); after.Revision != before.Revision {
			t.Error("it was written")
		}
	})
}

// TestTheLeaderWritesTheRecordAndNotWhatItRemembers: the store was restored within the term.
func TestTheLeaderWritesTheRecordAndNotWhatItRemembers(t *testing.T) {
	play(t, classic, func(s *scene) {
		restore := s.etcd.backup()
		s.due()
		s.until("another version", 20*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		restore()
		if r := s.ask(reseal); r.Verdict != token.VerdictDone {
			t.Errorf("verdict %q", r.Verdict)
		}
		if rec := s.record(); rec.Version < 2 || !rec.Doubt && rec.Value.IsZero() {
			t.Errorf("the leader wrote %+v", rec)
		}
		s.until("the next version is higher", 20*time.Minute, func() bool { return s.record().Version > 2 && !s.record().Value.IsZero() && s.allActive() })
	})
}
