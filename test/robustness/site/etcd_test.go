package site_test

import (
	"context"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

func etcdLeader(t *testing.T, s *site.Site) *site.Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	return must[*site.Member](t)(s.EtcdLeader(ctx))
}

func TestAMemberWithoutItsPeersDoesNotLead(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	for name, breaks := range map[string]func(netfault.Network){
		"cut":  netfault.Network.Cut,
		"mute": func(n netfault.Network) { n.Hold(netfault.Both) },
	} {
		t.Run(name, func(t *testing.T) {
			m := etcdLeader(t, s)
			breaks(m.Peers)
			eventually(t, "another member leads", func(context.Context) bool { return etcdLeader(t, s) != m })
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			if _, err := m.Client().Get(ctx, "k"); err == nil {
				t.Error("a member that is alone answered a linearizable read")
			}
			eventually(t, "the others go on", func(ctx context.Context) bool {
				_, err := etcdLeader(t, s).Client().Put(ctx, "/elsewhere", "v")
				return err == nil
			})
			m.Peers.Heal()
			eventually(t, "the member is back", func(ctx context.Context) bool {
				_, err := m.Client().Get(ctx, "k")
				return err == nil
			})
		})
	}
}

func TestAPausedMemberLosesTheLeadAndWakesDeposed(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	m := etcdLeader(t, s)
	before := must[*clientv3.StatusResponse](t)(m.Client().Status(t.Context(), m.Endpoint))
	if err := m.Pause(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another member leads", func(ctx context.Context) bool {
		other, err := s.EtcdLeader(ctx)
		return err == nil && other != m
	})
	eventually(t, "the others go on", func(ctx context.Context) bool {
		_, err := etcdLeader(t, s).Client().Put(ctx, "/elsewhere", "v")
		return err == nil
	})
	if err := m.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the member reads what the others wrote", func(ctx context.Context) bool {
		resp, err := m.Client().Get(ctx, "/elsewhere")
		return err == nil && resp.Count == 1
	})
	now := must[*clientv3.StatusResponse](t)(m.Client().Status(t.Context(), m.Endpoint))
	if now.RaftTerm <= before.RaftTerm { // in a later term it may lead again
		t.Errorf("a member that woke is in term %d as before, with %x for a leader", now.RaftTerm, now.Leader)
	}
}

func TestEtcdIsLedFilledAndCompactedAsTold(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	for _, m := range s.Members {
		if err := s.MoveEtcdLeader(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if got := etcdLeader(t, s); got != m {
			t.Errorf("%s leads, want %s", got.Name, m.Name)
		}
	}
	if err := s.FillEtcd(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("writing to a full etcd: %v", err)
	}
	if err := s.FreeEtcd(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s); err != nil {
		t.Error(err)
	}

	then := must[*clientv3.PutResponse](t)(s.Members[0].Client().Put(t.Context(), "/elsewhere", "v")).Header.GetRevision()
	s.Observed = func() int64 { return then - 1 }
	if err := put(t, s); err != nil {
		t.Fatal(err)
	}
	// The second time there is nothing to do.
	if err := errors.Join(s.Compact(t.Context()), s.Compact(t.Context())); err != nil {
		t.Fatal(err)
	}
	for revision, want := range map[int64]error{then - 2: rpctypes.ErrCompacted, then - 1: nil} {
		if _, err := s.Members[0].Client().Get(t.Context(), "k", clientv3.WithRev(revision)); !errors.Is(err, want) {
			t.Errorf("reading at revision %d: %v, want %v", revision-then, err, want)
		}
	}
}
