package snapshot_test

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/snapshot"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestARestartedReplicaAnswersFromItsSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		k := s.keeper(t)
		k.Restore()
		stop := run(t, k)
		issued := time.Now()
		s.load(held("stable", record(3, issued)), held("classic", record(7, issued)))
		time.Sleep(2 * time.Second)
		stop()
		if info, err := os.Stat(s.file); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("mode %v, %v", info.Mode(), err)
		}

		time.Sleep(10 * time.Minute)
		s.restart(t)
		s.keeper(t).Restore()
		stable, classic := s.view.Token("stable").Read(), s.view.Token("classic").Read()
		if left := 2*time.Hour - 10*time.Minute - 2*time.Second - view.DefaultSkew; stable.State != view.Active || stable.TTL != left || stable.Record.Version != 3 {
			t.Errorf("stable is %v for %v in version %d, want %v", stable.State, stable.TTL, stable.Record.Version, left)
		}
		if classic.State != view.Suspect || classic.TTL != 0 || classic.Record.Value != record(7, issued).Value {
			t.Errorf("classic is %v for %v", classic.State, classic.TTL)
		}
		if !s.view.Filled() {
			t.Error("there is nothing to serve from")
		}
	})
}

func TestAnotherReplicasSnapshotIsUsedWithAWarning(t *testing.T) {
	s := newSite(t)
	snap := now()
	snap.Replica = "broker-2"
	s.write(t, snap)
	s.keeper(t).Restore()
	if r := s.view.Token("stable").Read(); r.State != view.Active {
		t.Errorf("the token is %v", r.State)
	}
	s.logged(t, "written_by=broker-2", 1)
}

func TestTokensOfAnotherUpstreamOrFromTheFutureArePassedOver(t *testing.T) {
	s := newSite(t)
	foreign, future := record(1, time.Now()), record(2, time.Now().Add(time.Hour))
	foreign.Source = "wechat stable wx-of-somebody-else https://wechat.invalid"
	s.write(t, snapshot.Snapshot{
		Namespace: namespace, Replica: replica, Written: time.Now(),
		Held: []view.Held{held("stable", foreign), held("classic", future), held("unconfigured", record(3, time.Now()))},
	})
	s.keeper(t).Restore()
	if s.view.Filled() {
		t.Errorf("restored: %v", s.view.Held())
	}
	s.logged(t, "level=WARN", 2)
	s.logged(t, "another upstream", 1)
	s.logged(t, "issued in the future", 1)
}

func TestWhatIsNotConfiguredIsKeptUntilTheStoreIsSeen(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.write(t, snapshot.Snapshot{
			Namespace: namespace, Replica: replica, Written: time.Now(),
			Held: []view.Held{held("stable", record(1, time.Now())), held("unconfigured", record(3, time.Now()))},
		})
		k := s.keeper(t)
		k.Restore()
		defer run(t, k)()
		version, _ := s.view.Token("stable").ServeLocal(s.view.Token("stable").Traits().Source, token.NewSecret("fetched alone"), s.clock.Read(), time.Hour)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := s.versions(t); got["stable"] != version || got["unconfigured"] != 3 {
			t.Errorf("away from the store the file has %v", got)
		}
		s.load(held("stable", record(1, time.Now())))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := s.versions(t); got["unconfigured"] != 0 || got["stable"] != version {
			t.Errorf("with the store the file has %v", got)
		}
	})
}

func TestASnapshotKeepsHowFarTheStoreHadCome(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.course.Resume(7, 3)
		k := s.keeper(t)
		k.Restore()
		stop := run(t, k)
		s.load(held("stable", record(3, time.Now())))
		time.Sleep(2 * time.Second)
		stop()

		s.restart(t)
		s.keeper(t).Restore()
		if head, puts := s.course.Course(); head != 7 || puts != 3 {
			t.Errorf("restored, the head is at %d and was put %d times, want 7 and 3", head, puts)
		}
	})
}
