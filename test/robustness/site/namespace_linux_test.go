package site_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

// allowed reports whether the kernel lets this process make network namespaces, and what is in them.
func allowed(t *testing.T) bool {
	t.Helper()
	status := must[[]byte](t)(os.ReadFile("/proc/self/status"))
	_, after, _ := strings.Cut(string(status), "\nCapEff:")
	capabilities := must[uint64](t)(strconv.ParseUint(strings.Fields(after)[0], 16, 64))
	const netAdmin = 12
	broker := exec.CommandContext(t.Context(), brokerProgram, "version")
	broker.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	return broker.Run() == nil && capabilities&(1<<netAdmin) != 0
}

// isolate starts a site with namespaces. Where the kernel allows none it only tries that the site says so, and returns nil.
func isolate(t *testing.T) *site.Site {
	t.Helper()
	cfg := config(t)
	cfg.Namespaces = true
	s, err := site.Start(t.Context(), cfg)
	if !allowed(t) {
		if !errors.Is(err, site.ErrNoNamespaces) || !errors.Is(site.TryNamespaces(), site.ErrNoNamespaces) {
			t.Errorf("the kernel refuses, and the site says: %v", err)
		}
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the site: %v", err)
		}
	})
	return s
}

func TestALeaderThatVanishesFallsSilentToAllAndComesBack(t *testing.T) {
	t.Parallel()
	s := isolate(t)
	if s == nil {
		return
	}
	b := leader(t, s)
	if err := get(t, b, stable, ample); err != nil {
		t.Fatal(err)
	}
	if err := b.Vanish(); err != nil {
		t.Fatal(err)
	}
	if err := get(t, b, stable, soon); status.Code(err) != codes.DeadlineExceeded || b.Conn().GetState() != connectivity.Ready {
		t.Errorf("asked, it answers %v, and the connection is %v; want silence, and READY", err, b.Conn().GetState())
	}
	other := leader(t, s, b)
	eventually(t, "the other fetches", func(context.Context) bool { return refresh(t, other, true) == nil })
	if err := b.Appear(); err != nil {
		t.Fatal(err)
	}
	serves(t, b, stable)
	eventually(t, b.ID+" takes orders to the leader", func(context.Context) bool { return refresh(t, b, false) == nil })
}

func TestWhoIsStartedWhileAwayAppearsLater(t *testing.T) {
	t.Parallel()
	s := isolate(t)
	if s == nil {
		return
	}
	b, m := s.Brokers[0], must[*site.Member](t)(s.EtcdLeader(t.Context()))
	if err := errors.Join(b.Vanish(), b.Kill(), b.Start(t.Context()), m.Vanish()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "etcd has another leader", func(ctx context.Context) bool {
		other, err := s.EtcdLeader(ctx)
		return err == nil && other != m
	})
	if err := get(t, b, stable, soon); err == nil {
		t.Error("who has vanished answers")
	}
	eventually(t, "the suite itself reaches who has vanished", func(ctx context.Context) bool {
		_, err := m.Client().Get(ctx, "k", clientv3.WithSerializable())
		return err == nil
	})
	if err := errors.Join(m.Kill(), m.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := s.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	serves(t, b, classic)
	if err := put(t, s); err != nil {
		t.Error(err)
	}
}

func TestWithoutNamespacesNobodyVanishes(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	if err := s.Brokers[0].Vanish(); err == nil {
		t.Error("a process vanished from the machine's own network")
	}
	if err := get(t, s.Brokers[0], stable, ample); err != nil {
		t.Error(err)
	}
}
