package leader_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/leader"
)

func TestLeaderProclaimsItselfUnderItsLease(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	l := play(t, client, leader.Config{ID: "a", Address: "host:1"}).next(t)

	r, err := client.Get(t.Context(), l.term.Key)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("reading the leader's key %s: %v, %v", l.term.Key, r, err)
	}
	kv := r.Kvs[0]
	if want := fmt.Sprintf("%s/%x", prefix, kv.Lease); l.term.Key != want {
		t.Errorf("the key is %s, want %s", l.term.Key, want)
	}
	if kv.CreateRevision != l.term.Revision {
		t.Errorf("the term is %d, want the key's create revision %d", l.term.Revision, kv.CreateRevision)
	}
	var got leader.Proclamation
	if err := json.Unmarshal(kv.Value, &got); err != nil {
		t.Fatal(err)
	}
	want := leader.Proclamation{ID: "a", Address: "host:1", Since: l.term.Since}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("proclamation (-want +got):\n%s", diff)
	}
	if age := time.Since(got.Since); age < 0 || age > patience {
		t.Errorf("the lead began %v ago", age)
	}
}

func TestShutdownHandsOverWithinHalfASecond(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	a := play(t, client, leader.Config{ID: "a"})
	l := a.next(t)
	best := patience // of three: a busy machine may take its time once
	for range 3 {
		b := play(t, client, leader.Config{ID: "b"})
		queued(t, client, 2)

		begun := time.Now()
		a.stop(errTestOver)
		successor := b.next(t)
		best = min(best, successor.began.Sub(begun))
		l.lost(t, errTestOver)
		<-a.done
		if successor.term.Revision <= l.term.Revision {
			t.Errorf("term %d follows %d", successor.term.Revision, l.term.Revision)
		}
		// Neither the key nor the lease of the first is left.
		if got := queued(t, client, 1)[0]; got != successor.term.Key {
			t.Errorf("%s is left, want %s", got, successor.term.Key)
		}
		leases, err := client.Leases(t.Context())
		if err != nil || len(leases.Leases) != 1 {
			t.Errorf("leases %v, %v; want one", leases, err)
		}
		a, l = b, successor
	}
	t.Logf("a hand-over took %v", best)
	if best > 500*time.Millisecond {
		t.Errorf("a hand-over took %v", best)
	}
}

func TestResignedLeaderQueuesBehindTheOthers(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	var players []*player
	for i, id := range []string{"a", "b", "c"} {
		players = append(players, play(t, client, leader.Config{ID: id}))
		queued(t, client, i+1)
	}
	last := int64(0)
	for round := range 6 {
		p := players[round%3]
		l := p.next(t)
		if l.term.Revision <= last {
			t.Fatalf("term %d follows %d", l.term.Revision, last)
		}
		last = l.term.Revision
		queued(t, client, 3)
		if round%2 == 0 {
			if !p.Resign(l.term.Revision) {
				t.Fatal("the leader could not resign")
			}
			l.lost(t, leader.ErrResigned)
		} else {
			l.leave <- errors.New("cannot reach the upstream")
		}
	}
}

func TestResignNamesTheTerm(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	p := play(t, client, leader.Config{ID: "a"})
	if p.Resign(0) {
		t.Error("a candidate that does not lead resigned term 0")
	}
	l := p.next(t)
	if p.Resign(l.term.Revision-1) || p.Resign(l.term.Revision+1) || p.Resign(0) {
		t.Error("the leader resigned another term")
	}
	l.lasts(t, 0)
	if !p.Resign(l.term.Revision) {
		t.Error("the leader could not resign its term")
	}
	p.next(t)
	if p.Resign(l.term.Revision) {
		t.Error("the leader resigned its term of before")
	}
}

func TestKeyStaysWhileLeadWindsDown(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	a := linger(t, client, leader.Config{ID: "a", TTL: 2 * ttl})
	l := a.next(t)
	key := watchKey(t, client, l.term)
	b := play(t, client, leader.Config{ID: "b"})
	queued(t, client, 2)

	a.stop(errTestOver)
	l.lost(t, errTestOver)
	select {
	case <-key.deleted:
		t.Fatal("the key was deleted while lead was running")
	case <-time.After(3 * ttl):
	}
	b.none(t)
	l.leave <- nil
	b.next(t)
}

func TestLeadThatOutlivesItsTrustIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client, proxy := server.Client(t), server.Proxy(t)
	a := linger(t, proxy.Client(t), leader.Config{ID: "a", TTL: ttl})
	l := a.next(t)
	b := play(t, client, leader.Config{ID: "b"})
	queued(t, client, 2)

	proxy.Hold(etcdtest.Both)
	l.lost(t, leader.ErrTrustLost)
	after := b.next(t)
	proxy.Heal()
	// Nothing keeps a off the election now but its lead.
	after.lasts(t, ttl)
	if got := queued(t, client, 1)[0]; got != after.term.Key {
		t.Errorf("%s stands, want %s alone", got, after.term.Key)
	}
	l.leave <- nil
	queued(t, client, 2)
	b.stop(errTestOver)
	a.next(t)
}

func TestFailingEtcdIsNotHammered(t *testing.T) {
	t.Parallel()
	var grants atomic.Int64
	play(t, etcdtest.Start(t).Client(t, failGrants(&grants)), leader.Config{ID: "a", TTL: ttl})
	<-time.After(2 * time.Second)
	// Pauses of 50, 100, 200, 400, 500 and 500 ms at least.
	if n := grants.Load(); n > 7 {
		t.Errorf("%d grants in 2 s, want 7 at most", n)
	}
	for deadline := time.Now().Add(patience); grants.Load() < 8; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the elector gave up after %d grants", grants.Load())
		}
	}
}

func TestLeadThatKeepsReturningDoesNotSpin(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	p := play(t, client, leader.Config{ID: "a", TTL: ttl})
	begun := time.Now()
	const rounds = 5
	for range rounds {
		p.next(t).leave <- nil
	}
	p.next(t)
	// Pauses of 50, 100, 200, 400 and 500 ms at least.
	if took := time.Since(begun); took < time.Second {
		t.Errorf("%d leads in %v", rounds, took)
	}
}

func TestLongLeadMakesUpForQuickOnes(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	p := play(t, client, leader.Config{ID: "a", TTL: ttl})
	for range 5 {
		p.next(t).leave <- nil
	}
	l := p.next(t)
	l.lasts(t, 2*ttl+ttl/2)
	begun := time.Now()
	l.leave <- nil
	if took := p.next(t).began.Sub(begun); took > 400*time.Millisecond {
		t.Errorf("after a long lead the next began after %v, as after a quick one", took)
	}
}

func TestShutdownWhileEtcdIsAwayEndsInTime(t *testing.T) {
	t.Parallel()
	for name, cutOff := range map[string]func(*etcdtest.Server, *etcdtest.Proxy){
		"stopped":  func(s *etcdtest.Server, _ *etcdtest.Proxy) { s.Stop() },
		"silent":   func(_ *etcdtest.Server, p *etcdtest.Proxy) { p.Hold(etcdtest.Both) },
		"refusing": func(_ *etcdtest.Server, p *etcdtest.Proxy) { p.Cut() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := etcdtest.Start(t)
			proxy := server.Proxy(t)
			leads := play(t, proxy.Client(t), leader.Config{ID: "leads", TTL: ttl})
			l := leads.next(t)
			waits := play(t, proxy.Client(t), leader.Config{ID: "waits", TTL: ttl})
			queued(t, server.Client(t), 2)
			cutOff(server, proxy)
			begins := play(t, proxy.Client(t), leader.Config{ID: "begins", TTL: ttl})

			begun := time.Now()
			for _, p := range []*player{leads, waits, begins} {
				p.stop(errTestOver)
			}
			for _, p := range []*player{leads, waits, begins} {
				<-p.done
			}
			if took := time.Since(begun); took > ttl/2+time.Second {
				t.Errorf("the shutdown took %v", took)
			}
			l.lost(t, errTestOver)
		})
	}
}

func TestElectorRunsOnce(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	p := play(t, client, leader.Config{ID: "a"})
	p.next(t)
	ctx, cancel := context.WithTimeout(t.Context(), ttl)
	defer cancel()
	if err := p.Run(ctx, func(context.Context, leader.Term) error { return nil }); err == nil {
		t.Error("a second Run beside the first did not fail")
	}
}

func TestNewRefusesBadConfigs(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]leader.Config{
		"no ID":            {},
		"ends with":        {ID: "a", Prefix: "/x/"},
		"TTL 1s":           {ID: "a", TTL: time.Second},
		"TTL 2.5s":         {ID: "a", TTL: 2500 * time.Millisecond},
		"margin 1s is not": {ID: "a", TTL: 2 * time.Second, Margin: time.Second},
		"margin -1s":       {ID: "a", Margin: -time.Second},
	} {
		if _, err := leader.New(&clientv3.Client{}, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) returned %v, want %q in it", cfg, err, want)
		}
	}
	if _, err := leader.New(&clientv3.Client{}, leader.Config{ID: "a"}); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}
