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

func TestWhatAPredecessorLeftHalfWrittenIsSweptAway(t *testing.T) {
	s := newSite(t)
	dir, name := filepath.Split(s.file)
	if err := os.WriteFile(filepath.Join(dir, "."+name+".123.tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.keeper(t).Run(ctx); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
