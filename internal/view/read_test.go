package view_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestAReadAllocatesNothing(t *testing.T) {
	c := clock.New()
	r := newReplica(t, c, classic("t"), stable("s"))
	rec := issued(1, c.Wall())
	r.load(map[string]token.Record{"t": begun(rec, "a"), "s": rec})
	r.sync()
	for _, name := range []string{"t", "s"} {
		if allocations := testing.AllocsPerRun(1000, func() {
			held := r.Token(name)
			_ = held.Changed()
			if got := held.Read(); got.Record.Version != 1 {
				t.Errorf("version %d, want 1", got.Record.Version)
			}
		}); allocations != 0 {
			t.Errorf("a read of %s allocates %v times", name, allocations)
		}
	}
}

// Whoever applies a change holds the view's lock while it looks at the clock. This clock stops it there.
func TestAReadDoesNotWaitForAChangeInProgress(t *testing.T) {
	hands := newClocks()
	var stop atomic.Bool
	stopped, release := make(chan struct{}), make(chan struct{})
	c := clock.FromSource(func() (time.Duration, time.Time) {
		if stop.CompareAndSwap(true, false) {
			close(stopped)
			<-release
		}
		return hands.read()
	})
	r := newReplica(t, c, classic("t"))
	rec := issued(1, c.Wall())
	r.load(map[string]token.Record{"t": rec})
	r.sync()

	stop.Store(true)
	applied := make(chan struct{})
	go func() {
		defer close(applied)
		r.see("t", issued(2, rec.IssuedAt))
	}()
	<-stopped
	read := make(chan view.Reading)
	go func() {
		held := r.Token("t")
		_, _ = held.Changed(), held.Removed()
		_, _ = held.NominalEnd(1)
		_, _ = r.Age()
		_, _ = r.InSync(), r.Names()
		if held.Version() == 1 {
			read <- held.Read()
		}
	}()
	select {
	case got := <-read:
		if got.State != view.Active || got.Record.Version != 1 {
			t.Errorf("read version %d, %v", got.Record.Version, got.State)
		}
	case <-time.After(10 * time.Second):
		t.Error("a read waited for the change in progress")
	}
	close(release)
	<-applied
	if got := r.Token("t").Version(); got != 2 {
		t.Errorf("version %d after the change, want 2", got)
	}
}
