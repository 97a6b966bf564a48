package refresh_test

import (
	"testing"
	"time"
)

// TestAChangedConfigurationStartsNoQuietWaitAnew: what the term has seen stays seen; nor does the change cut a wait short.
func TestAChangedConfigurationStartsNoQuietWaitAnew(t *testing.T) {
	t.Run("that is over", func(t *testing.T) {
		play(t, classic, func(s *scene) {
			s.due()
			s.etcd.leader().reload <- struct{}{}
			s.until("a fetch on time", time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
		})
	})
	t.Run("that goes on", func(t *testing.T) {
		play(t, classic, func(s *scene) {
			time.Sleep(30 * time.Second)
			s.killCurrent()
			s.etcd.leader().reload <- struct{}{}
			time.Sleep(time.Second) // or the call could be taken by the run that ends
			s.report(1)
			s.until("the next version", 10*time.Minute, func() bool { return s.record().Version == 2 && s.allActive() })
			wait := s.begins()[1].Sub(s.begins()[0])
			if wait < s.timing.Settled() || wait > s.timing.Settled()+20*time.Second {
				t.Errorf("the attempts are %v apart, want %v and little more", wait, s.timing.Settled())
			}
		})
	})
}
