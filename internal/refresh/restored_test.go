package refresh_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// TestARestoreThatForgetsAnAttemptBetraysNobody: the backup has the version that the replicas hold, and nothing of the fetch that
// rotated its value away. What they knew of it, and the wait that it buys, outlive the restore.
func TestARestoreThatForgetsAnAttemptBetraysNobody(t *testing.T) {
	for _, c := range []struct {
		name   string
		step   step
		happen func(lead *incarnation)
	}{
		{"while the leader holds the new token", stepAnswer, func(*incarnation) {}},
		{"whose leader is deposed meanwhile", stepAnswer, deposeAndPause(5 * time.Second)},
		{"whose leader dies with the answer", stepAnswer, dieHere},
		{"whose leader dies before the answer", stepWrite, dieHere},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, classic, func(s *scene) {
				var restored atomic.Pointer[time.Time]
				s.due()
				restore := s.etcd.backup()
				s.at(c.step, after, func(lead *incarnation) {
					time.Sleep(time.Second) // the watches tell of the attempt
					c.happen(lead)
					restore()
					now := time.Now()
					restored.Store(&now)
				})
				s.until("the restore", 20*time.Minute, func() bool { return restored.Load() != nil })
				s.until("the record is in doubt", 30*time.Second, func() bool { return s.record().Doubt })
				s.until("every replica holds a new token", 10*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
				begins := s.begins()
				if wait := begins[len(begins)-1].Sub(*restored.Load()); len(begins) != 3 || wait < s.timing.W {
					t.Errorf("%d attempts, want 3; the last %v after the restore, want %v at least", len(begins), wait, s.timing.W)
				}
			})
		})
	}
}

// TestAfterARestoreARotatingTokenIsReplacedAndAnIdempotentOneIsNot: all that the backup lacks is a refusal; but nobody can be sure of that.
func TestAfterARestoreARotatingTokenIsReplacedAndAnIdempotentOneIsNot(t *testing.T) {
	for name, version := range map[string]int64{classic: 2, stable: 1} {
		t.Run(name, func(t *testing.T) {
			play(t, name, func(s *scene) {
				restore := s.etcd.backup()
				s.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125"})
				if r := s.ask(token.Request{Kind: token.RequestRefresh, Version: 1}); r.Verdict != token.VerdictFailed {
					t.Fatalf("verdict %q, want failed", r.Verdict)
				}
				s.up.regime(false, nil)
				time.Sleep(time.Minute)
				restore()
				time.Sleep(20 * time.Minute)
				if got := s.up.judge.issues(); int64(got) != version || s.record().Version != version || !s.allActive() {
					t.Errorf("the upstream issued %d tokens, want %d; version %d", got, version, s.record().Version)
				}
			})
		})
	}
}

// TestADoubtAboutAReplacedVersionIsAnsweredWithoutAFetch: a replica comes back late.
func TestADoubtAboutAReplacedVersionIsAnsweredWithoutAFetch(t *testing.T) {
	play(t, classic, func(s *scene) {
		doubt := token.Request{Kind: token.RequestDoubt, Version: 1}
		var told time.Time // for the first time
		for range 2 {
			if r := s.ask(doubt); r.Verdict != token.VerdictDone || !s.record().Doubt {
				t.Errorf("verdict %q, doubt %v", r.Verdict, s.record().Doubt)
			}
			if told.IsZero() {
				told = time.Now()
			}
		}
		s.until("nobody promises it", s.timing.W, func() bool { return s.alive(0).view.Token(classic).Read().State == view.Suspect })
		s.until("the next version", 10*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		if wait := s.begins()[1].Sub(told); wait < s.timing.W {
			t.Errorf("the next attempt came after %v, want %v at least", wait, s.timing.W)
		}
		if r := s.ask(doubt); r.Verdict != token.VerdictDone || s.record().Doubt {
			t.Errorf("verdict %q, doubt %v", r.Verdict, s.record().Doubt)
		}
		time.Sleep(20 * time.Minute)
		if got := len(s.begins()); got != 2 {
			t.Errorf("%d attempts, want 2", got)
		}
	})
}

// TestADoubtThatTheStoreLostIsRecordedAnew: the leader remembers a doubt, or an attempt, of which the backup knows nothing. Until the record
// says so, who did not notice the restore believes it.
func TestADoubtThatTheStoreLostIsRecordedAnew(t *testing.T) {
	play(t, classic, func(s *scene) {
		restore := s.etcd.backup()
		doubt := token.Request{Kind: token.RequestDoubt, Version: 1}
		if r := s.ask(doubt); r.Verdict != token.VerdictDone || !s.record().Doubt {
			t.Fatalf("verdict %q, doubt %v", r.Verdict, s.record().Doubt)
		}
		time.Sleep(10 * time.Second)
		restore()
		if r := s.ask(doubt); r.Verdict != token.VerdictDone || !s.record().Doubt {
			t.Errorf("after the restore: verdict %q, doubt %v", r.Verdict, s.record().Doubt)
		}
		s.until("the next version", 10*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
	})
}

// TestAnOrphanOfAnAttemptFromBeforeTheRestoreBringsNoDeadToken: the backup has an attempt as pending whose token was overtaken since. The
// leader that holds it was paused all the while.
func TestAnOrphanOfAnAttemptFromBeforeTheRestoreBringsNoDeadToken(t *testing.T) {
	for name, lost := range map[string]bool{"a version is lost": false, "an attempt is lost": true} {
		t.Run(name, func(t *testing.T) {
			play(t, classic, func(s *scene) {
				var restore func()
				woken := make(chan struct{})
				s.due()
				s.at(stepAnswer, after, func(inc *incarnation) {
					restore = s.etcd.backup()
					s.setFaults(func(f *faults) {
						if lost {
							f.fetch.lost = 1
						}
					})
					s.etcd.depose(inc)
					<-woken
				})
				s.until("the next leader has fetched", 20*time.Minute, func() bool { return len(s.begins()) == 3 && (lost || s.record().Version == 2) })
				time.Sleep(30 * time.Second)
				s.setFaults(func(f *faults) { f.fetch.lost = 0 })
				restore()
				time.Sleep(20 * time.Second)
				close(woken)
				time.Sleep(30 * time.Minute) // every promise is judged at its end
				if rec := s.record(); !rec.Clean() || !s.allActive() {
					t.Errorf("the record is %+v", rec)
				}
			})
		})
	}
}
