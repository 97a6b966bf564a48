package leader_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/leader"
)

func TestLeadingNamesTheTermForAsLongAsLeadRuns(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	a := linger(t, client, leader.Config{ID: "a"})
	l := a.next(t)
	b := play(t, client, leader.Config{ID: "b"})
	queued(t, client, 2)
	if got := a.Leading(); got != l.term.Revision {
		t.Errorf("the leader of term %d says that it leads in term %d", l.term.Revision, got)
	}
	if got := b.Leading(); got != 0 {
		t.Errorf("a candidate that waits says that it leads in term %d", got)
	}
	a.Resign(l.term.Revision)
	l.lost(t, leader.ErrResigned)
	if got := a.Leading(); got != l.term.Revision {
		t.Errorf("a leader that winds down, with its key in etcd, says that it leads in term %d", got)
	}
	l.leave <- nil
	next := b.next(t)
	if got := a.Leading(); got != 0 {
		t.Errorf("a leader that has handed over says that it leads in term %d", got)
	}
	if got := b.Leading(); got != next.term.Revision {
		t.Errorf("the next leader says that it leads in term %d", got)
	}
}

func TestALeaderThatLostTrustIsNotLeadingAlthoughItsLeadRuns(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	proxy := server.Proxy(t)
	a := linger(t, proxy.Client(t), leader.Config{ID: "a", TTL: ttl})
	l := a.next(t)
	proxy.Hold(etcdtest.Both)
	l.lost(t, leader.ErrTrustLost)
	if got := a.Leading(); got != 0 {
		t.Errorf("it says that it leads in term %d", got)
	}
}

// Whoever asks a process that wakes from a pause may be the first to look at the clock.
func TestLeadingLooksAtTheClockItself(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	for name, jump := range map[string]struct{ mono, wall time.Duration }{
		"the process was paused": {ample, ample},
		"the machine slept":      {0, ample},
	} {
		var mono, wall atomic.Int64
		base := time.Now()
		bent := clock.FromSource(func() (time.Duration, time.Time) {
			now := time.Now()
			return now.Sub(base) + time.Duration(mono.Load()), now.Round(0).Add(time.Duration(wall.Load()))
		})
		a := play(t, client, leader.Config{ID: "a", Clock: bent, Prefix: prefix + "/" + name})
		l := a.next(t)
		if got := a.Leading(); got != l.term.Revision {
			t.Fatalf("the leader of term %d says that it leads in term %d", l.term.Revision, got)
		}
		mono.Add(int64(jump.mono))
		wall.Add(int64(jump.wall))
		if got := a.Leading(); got != 0 {
			t.Errorf("%s, and the leader says that it leads in term %d", name, got)
		}
	}
}
