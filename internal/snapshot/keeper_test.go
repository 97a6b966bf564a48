package snapshot_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenbroker/tokenbroker/internal/snapshot"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// bubble runs a test in simulated time, in a folder made outside of it.
func bubble(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	s := newSite(t)
	synctest.Test(t, func(t *testing.T) {
		s.restart(t)
		test(t, s)
	})
}

// run runs a keeper until the returned function is called.
func run(t *testing.T, k *snapshot.Keeper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// versions are those of the tokens in the file; nil if it is not there.
func (s *site) versions(t *testing.T) map[string]int64 {
	t.Helper()
	got, err := s.read(t)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	for _, h := range got.Held {
		all[h.Name] = h.Record.Version
	}
	return all
}

func (s *site) want(t *testing.T, stable int64) {
	t.Helper()
	if got := s.versions(t); got["stable"] != stable {
		t.Errorf("the file has versions %v, want %d of stable", got, stable)
	}
}

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

func TestTheFileIsWrittenOnlyWhenSomethingChangedAndAtMostOnceASecond(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		k := s.keeper(t)
		k.Restore()
		defer run(t, k)()
		if synctest.Wait(); s.versions(t) != nil {
			t.Error("an empty view was written")
		}
		issued := time.Now()
		s.load(held("stable", record(1, issued)))
		time.Sleep(time.Second)
		synctest.Wait()
		s.want(t, 1)
		first := s.written(t)

		// Revisions that leave the tokens alone.
		for range 20 {
			s.view.Apply(s.view.Revision()+1, 0, nil)
			time.Sleep(500 * time.Millisecond)
		}
		s.load(held("stable", record(1, issued)))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if again := s.written(t); !again.Equal(first) {
			t.Errorf("written anew at %v, without a reason", again)
		}

		times := map[time.Time]bool{}
		began := time.Now()
		for version := int64(2); version <= 40; version++ {
			s.load(held("stable", record(version, issued)))
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			times[s.written(t)] = true
		}
		if n := len(times); n < 3 || n > 2+int(time.Since(began)/time.Second) {
			t.Errorf("written %d times in %v", n, time.Since(began))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		s.want(t, 40)
	})
}

// written is the time that the file states.
func (s *site) written(t *testing.T) time.Time {
	t.Helper()
	got, err := s.read(t)
	if err != nil {
		t.Fatal(err)
	}
	return got.Written
}

func TestWhatChangedLastIsWrittenAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		k := s.keeper(t)
		k.Restore()
		stop := run(t, k)
		s.load(held("stable", record(1, time.Now())))
		synctest.Wait()
		time.Sleep(1500 * time.Millisecond)
		s.load(held("stable", record(2, time.Now())))
		s.load(held("stable", record(3, time.Now())))
		stop()
		s.want(t, 3)
	})
}

func TestAForcedFetchThatWasBegunIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		k := s.keeper(t)
		k.Restore()
		stop := run(t, k)
		rec := record(1, time.Now())
		s.load(held("stable", rec))
		time.Sleep(2 * time.Second)
		rec.Pending = &token.Intent{Attempt: "a", Source: source, At: time.Now().UTC(), Forced: true}
		s.load(held("stable", rec))
		time.Sleep(2 * time.Second)
		stop()
		s.restart(t)
		s.keeper(t).Restore()
		if r := s.view.Token("stable").Read(); r.State != view.Suspect {
			t.Errorf("a token that is being killed is %v", r.State)
		}
	})
}

func TestAWriteThatFailsIsToldOnceCountedAndRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		dir := filepath.Dir(s.file)
		away := dir + "-away"
		k := s.keeper(t)
		k.Restore()
		defer run(t, k)()
		for range 2 {
			if err := os.Rename(dir, away); err != nil {
				t.Fatal(err)
			}
			s.load(held("stable", record(s.view.Token("stable").Version()+1, time.Now())))
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if err := os.Rename(away, dir); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Second)
			synctest.Wait()
		}
		s.want(t, 2)
		s.logged(t, "the snapshot cannot be written", 2)
		s.logged(t, "the snapshot is written again", 2)
		metrics := gather(t, k)
		if n := metrics["tokenbroker_snapshot_write_failures_total"]; n < 8 || n > 16 {
			t.Errorf("%v failures are counted in a minute", n)
		}
		if at := metrics["tokenbroker_snapshot_last_write_timestamp_seconds"]; at != float64(s.written(t).UnixMilli())/1000 {
			t.Errorf("the last write was at %f, but %v is written in it", at, s.written(t))
		}
	})
}

func TestWhatCannotBeSealedIsNotWritten(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.key = noKey
		stop := run(t, s.keeper(t))
		s.load(held("stable", record(1, time.Now())))
		time.Sleep(2 * time.Second)
		stop()
		if _, err := os.Stat(s.file); !os.IsNotExist(err) {
			t.Errorf("there is a file: %v", err)
		}
		s.logged(t, "no key fits", 1)
	})
}

func TestARefusedFileIsToldOfAndNoHarm(t *testing.T) {
	for _, tc := range refusals {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *site) {
				tc.make(t, s)
				k := s.keeper(t)
				k.Restore()
				s.logged(t, "level=ERROR", 1)
				s.logged(t, "reason="+string(tc.reason), 1)
				if s.view.Filled() {
					t.Error("something of it was used")
				}
				if gather(t, k)["tokenbroker_snapshot_refused"+string(tc.reason)] != 1 {
					t.Errorf("the metric does not tell: %v", gather(t, k))
				}
				before := look(t, s.file)
				stop := run(t, k)
				time.Sleep(time.Minute)
				synctest.Wait()
				if after := look(t, s.file); after != before {
					t.Error("the file was changed before there was anything to write")
				}
				s.load(held("stable", record(9, time.Now())))
				time.Sleep(time.Minute)
				stop()

				foreign := (&snapshot.Refusal{Reason: tc.reason}).Foreign()
				kept := s.file
				if !foreign {
					kept += ".refused"
					s.want(t, 9)
					if gather(t, k)["tokenbroker_snapshot_refused"+string(tc.reason)] != 0 {
						t.Error("the metric still tells of the refusal after a new snapshot was written")
					}
				}
				if after := look(t, kept); after.content != before.content || after.foreign != before.foreign {
					t.Errorf("what was refused is not kept as it was in %s", kept)
				}
				if info, err := os.Lstat(kept); err != nil || !foreign && info.Mode().Perm() != 0o600 {
					t.Errorf("%s is of mode %v, %v", kept, info.Mode(), err)
				}
			})
		})
	}
}

// sight is all that can be seen of a file.
type sight struct {
	content string
	foreign string // what kind of file it is
}

func look(t *testing.T, path string) sight {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := sight{foreign: info.Mode().Type().String()}
	if info.Mode().IsRegular() {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s.content = string(data)
	}
	return s
}

func TestASnapshotIsWrittenOnceAForeignFileIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.put(t, []byte("the only copy of something"))
		k := s.keeper(t)
		k.Restore()
		defer run(t, k)()
		s.load(held("stable", record(1, time.Now())))
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := os.Remove(s.file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		s.want(t, 1)
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
		version, _ := s.view.Token("stable").ServeLocal(token.NewSecret("fetched alone"), s.clock.Read(), time.Hour)
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

func TestARelativePathIsRefused(t *testing.T) {
	if _, err := snapshot.New(snapshot.Config{File: "snapshot.json"}); err == nil || !strings.Contains(err.Error(), "snapshot.json") {
		t.Error(err)
	}
}

// gather returns the metrics by name and label.
func gather(t *testing.T, k *snapshot.Keeper) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(k); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += l.GetValue()
			}
			all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}
