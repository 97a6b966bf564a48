package leader_test

import (
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/leader"
)

// The answers to the last keep-alives arrive long after etcd renewed the lease. Counted from there, the lead would outlive the key.
func TestSlowAnswersDoNotExtendTrust(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	proxy := server.Proxy(t)
	l := play(t, proxy.Client(t), leader.Config{ID: "a", TTL: 2 * ttl}).next(t)
	key := watchKey(t, server.Client(t), l.term)

	const delay = 1500 * time.Millisecond
	proxy.Delay(etcdtest.ToClient, delay)
	l.lasts(t, 2*delay) // slow answers do no harm by themselves
	proxy.Hold(etcdtest.ToServer)
	l.lost(t, leader.ErrTrustLost)
	select {
	case <-key.deleted:
		t.Error("the lead ended after its key was deleted")
	default:
	}
	key.wait(t)
}

func TestPartitionEndsTheLeadBeforeAnotherBegins(t *testing.T) {
	t.Parallel()
	for name, direction := range map[string]etcdtest.Direction{
		"requests": etcdtest.ToServer, "answers": etcdtest.ToClient, "both": etcdtest.Both,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := etcdtest.Start(t)
			proxy := server.Proxy(t)
			a := play(t, proxy.Client(t), leader.Config{ID: "a", TTL: ttl})
			l := a.next(t)
			key := watchKey(t, server.Client(t), l.term)
			b := play(t, server.Client(t), leader.Config{ID: "b"})
			queued(t, server.Client(t), 2)

			begun := time.Now()
			proxy.Hold(direction)
			l.lost(t, leader.ErrTrustLost)
			select {
			case <-key.deleted:
				t.Error("the lead ended after its key was deleted")
			default:
			}
			successor := b.next(t)
			if took := successor.began.Sub(begun); took > ttl+time.Second {
				t.Errorf("the successor led %v after the partition", took)
			} else {
				t.Logf("the successor led %v after the partition", took)
			}
			a.none(t)

			proxy.Heal()
			if got := queued(t, server.Client(t), 2)[0]; got != successor.term.Key {
				t.Errorf("healed, %s leads, want %s", got, successor.term.Key)
			}
			b.Resign(successor.term.Revision)
			a.next(t)
		})
	}
}

func TestMarginEndsTheLeadEarlier(t *testing.T) {
	t.Parallel()
	const margin = 1400 * time.Millisecond
	server := etcdtest.Start(t)
	proxy := server.Proxy(t)
	l := play(t, proxy.Client(t), leader.Config{ID: "a", TTL: 3 * time.Second, Margin: margin}).next(t)
	key := watchKey(t, server.Client(t), l.term)
	proxy.Hold(etcdtest.Both)
	l.lost(t, leader.ErrTrustLost)
	// etcd deletes the key up to 0.5 s late; without a margin, no more than that and the news' way lie between.
	if early := key.wait(t).Sub(l.ended); early < margin/2 {
		t.Errorf("the lead ended %v before its key was deleted, want %v", early, margin)
	}
}

func TestFailedKeepAlivesAreRepeatedQuickly(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	// One of eight succeeds. At the pace of successes the trust would be over before its turn.
	l := play(t, server.Client(t, failKeepAlives(8)), leader.Config{ID: "a", TTL: 2 * ttl}).next(t)
	l.lasts(t, 4*ttl)
}

func TestHungKeepAlivesHoldUpNothing(t *testing.T) {
	t.Parallel()
	l := play(t, etcdtest.Start(t).Client(t, hangKeepAlives(2)), leader.Config{ID: "a", TTL: 2 * ttl}).next(t)
	l.lasts(t, 4*ttl)
}

func TestTrustFollowsTheGrantedTTL(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	proxy := server.Proxy(t)
	l := play(t, proxy.Client(t, grantOf(4)), leader.Config{ID: "a", TTL: 8 * time.Second}).next(t)
	key := watchKey(t, server.Client(t), l.term)
	l.lasts(t, 5*time.Second)
	proxy.Hold(etcdtest.Both)
	l.lost(t, leader.ErrTrustLost)
	select {
	case <-key.deleted:
		t.Error("the lead ended after its key was deleted")
	default:
	}
	key.wait(t)
}

func TestBentClocksEndTheLead(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]struct{ mono, wall time.Duration }{
		"the wall clock jumped ahead": {wall: time.Minute},
		"the wall clock jumped back":  {wall: -time.Minute},
		"the process was paused":      {mono: ttl, wall: ttl},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := etcdtest.Start(t).Client(t)
			var b bent
			a := play(t, client, leader.Config{ID: "a", TTL: ttl, Clock: b.clock()})
			l := a.next(t)
			b.jump(jump.mono, jump.wall)
			begun := time.Now()
			l.lost(t, leader.ErrTrustLost)
			if took := time.Since(begun); took > ttl {
				t.Errorf("the lead ended %v after the jump", took)
			}
			if again := a.next(t); again.term.Revision <= l.term.Revision {
				t.Errorf("term %d follows %d", again.term.Revision, l.term.Revision)
			}
		})
	}
}

func TestLeadSurvivesARestartOfEtcd(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	l := play(t, server.Client(t), leader.Config{ID: "a", TTL: 3 * ttl}).next(t)
	server.Restart(t)
	l.lasts(t, 8*time.Second)
}

func TestLeadSurvivesTheLossOfTheEtcdLeader(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.StartCluster(t, 3)
	l := play(t, cluster.Client(t), leader.Config{ID: "a", TTL: 3 * ttl}).next(t)
	cluster.Leader(t).Stop()
	l.lasts(t, 8*time.Second)
}
