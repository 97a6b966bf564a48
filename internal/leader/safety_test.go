package leader_test

import (
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/leader"
)

// replica is a candidate whose network and clocks can be broken.
type replica struct {
	*player
	proxy *etcdtest.Proxy
	bent  *bent
}

// change forces the leader out.
type change struct {
	name string
	do   func(t *testing.T, s *etcdtest.Server, direct *clientv3.Client, r *replica, l *lead)
	// early: the key goes although its lease has not run out. Then the next leader may begin before the last has been told, by the
	// time that the news takes.
	early bool
}

var changes = []change{
	{name: "resigned", do: func(_ *testing.T, _ *etcdtest.Server, _ *clientv3.Client, r *replica, l *lead) {
		r.Resign(l.term.Revision)
	}},
	{name: "partitioned", do: func(_ *testing.T, _ *etcdtest.Server, _ *clientv3.Client, r *replica, _ *lead) {
		r.proxy.Hold(etcdtest.Both)
	}},
	{name: "lease revoked", early: true, do: func(t *testing.T, _ *etcdtest.Server, c *clientv3.Client, _ *replica, l *lead) {
		t.Helper()
		revoke(t, c, l.term.Key)
	}},
	{name: "requests lost", do: func(_ *testing.T, _ *etcdtest.Server, _ *clientv3.Client, r *replica, _ *lead) {
		r.proxy.Hold(etcdtest.ToServer)
	}},
	{name: "clock jumped ahead", do: func(_ *testing.T, _ *etcdtest.Server, _ *clientv3.Client, r *replica, _ *lead) {
		r.bent.jump(0, time.Hour)
	}},
	{name: "answers lost", do: func(_ *testing.T, _ *etcdtest.Server, _ *clientv3.Client, r *replica, _ *lead) {
		r.proxy.Hold(etcdtest.ToClient)
	}},
	{name: "key deleted", early: true, do: func(t *testing.T, _ *etcdtest.Server, c *clientv3.Client, _ *replica, l *lead) {
		t.Helper()
		if _, err := c.Delete(t.Context(), l.term.Key); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "cut off", do: func(_ *testing.T, _ *etcdtest.Server, _ *clientv3.Client, r *replica, _ *lead) {
		r.proxy.Cut()
	}},
	{name: "paused", do: func(_ *testing.T, _ *etcdtest.Server, _ *clientv3.Client, r *replica, _ *lead) {
		r.bent.jump(ttl, ttl)
	}},
	{name: "partitioned, etcd restarted", do: func(t *testing.T, s *etcdtest.Server, _ *clientv3.Client, r *replica, _ *lead) {
		t.Helper()
		r.proxy.Hold(etcdtest.Both)
		s.Restart(t)
	}},
	{name: "clock jumped back", do: func(_ *testing.T, _ *etcdtest.Server, _ *clientv3.Client, r *replica, _ *lead) {
		r.bent.jump(0, -time.Hour)
	}},
}

func TestNoTwoLeadAtOnce(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	direct := server.Client(t)
	var replicas []*replica
	for i := range 3 {
		r := &replica{proxy: server.Proxy(t), bent: new(bent)}
		r.player = play(t, r.proxy.Client(t), leader.Config{ID: fmt.Sprint(i), TTL: ttl, Clock: r.bent.clock()})
		replicas = append(replicas, r)
	}
	next := func() (*replica, *lead) {
		select {
		case l := <-replicas[0].leads:
			return replicas[0], l
		case l := <-replicas[1].leads:
			return replicas[1], l
		case l := <-replicas[2].leads:
			return replicas[2], l
		case <-time.After(patience):
			t.Fatal("nobody leads")
			return nil, nil
		}
	}

	r, l := next()
	for i := range 2 * len(changes) {
		forced := changes[i%len(changes)]
		queued(t, direct, 3)
		forced.do(t, server, direct, r, l)
		l.ends(t)
		successor, after := next()
		if overlap := l.ended.Sub(after.began); overlap > 0 && !forced.early {
			t.Errorf("%s: two led for %v", forced.name, overlap)
		} else if overlap > 500*time.Millisecond {
			t.Errorf("%s: the last leader learned of it %v after the next led", forced.name, overlap)
		}
		if after.term.Revision <= l.term.Revision {
			t.Errorf("%s: term %d follows %d", forced.name, after.term.Revision, l.term.Revision)
		}
		r.proxy.Heal()
		r, l = successor, after
	}
}
