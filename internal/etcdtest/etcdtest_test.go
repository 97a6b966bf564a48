package etcdtest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
)

func put(t *testing.T, c *clientv3.Client, value string) {
	t.Helper()
	if _, err := c.Put(t.Context(), "k", value); err != nil {
		t.Fatalf("putting: %v", err)
	}
}

func get(t *testing.T, c *clientv3.Client) string {
	t.Helper()
	r, err := c.Get(t.Context(), "k")
	if err != nil {
		t.Fatalf("getting: %v", err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

// within gives a call so long that only a silent network explains its failure.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAMemberKeepsDataAndAddressAcrossRestart(t *testing.T) {
	s := etcdtest.Start(t)
	c := s.Client(t)
	put(t, c, "v")
	s.Restart(t)
	if got := get(t, c); got != "v" {
		t.Errorf("after a restart k is %q, want v", got)
	}
}

func TestARefilledClusterServesOtherDataAtTheSameAddresses(t *testing.T) {
	cluster := etcdtest.StartCluster(t, 3)
	c := cluster.Client(t)
	put(t, c, "v")
	folders := map[string]bool{}
	cluster.Refill(t, func(f etcdtest.Folder) {
		if _, err := os.Stat(f.DataDir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the folder of %s is there: %v", f.Name, err)
		}
		if !strings.Contains(f.InitialCluster, f.Name+"="+f.AdvertisePeer) {
			t.Errorf("%s is not at %s in %s", f.Name, f.AdvertisePeer, f.InitialCluster)
		}
		folders[f.DataDir] = true
	})
	if len(folders) != 3 {
		t.Errorf("the folders were %v", folders)
	}
	if got := get(t, c); got != "" {
		t.Errorf("emptied, the cluster says that k is %q", got)
	}
	put(t, c, "w")
	if got := get(t, c); got != "w" {
		t.Errorf("emptied, the cluster says that k is %q, want w", got)
	}
}

func TestAClusterServesWithoutItsLeader(t *testing.T) {
	cluster := etcdtest.StartCluster(t, 3)
	c := cluster.Client(t)
	put(t, c, "v")
	cluster.Leader(t).Stop()
	if got := get(t, c); got != "v" {
		t.Errorf("without its first leader the cluster says that k is %q, want v", got)
	}
}

func TestLeaseOfTwoSecondsIsGranted(t *testing.T) {
	r, err := etcdtest.Start(t).Client(t).Grant(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if r.TTL != 2 {
		t.Errorf("etcd granted %d s for 2", r.TTL)
	}
}

func TestHoldSilencesOneDirectionUntilHeal(t *testing.T) {
	s := etcdtest.Start(t)
	direct, proxy := s.Client(t), s.Proxy(t)
	c := proxy.Client(t)
	put(t, c, "0")

	proxy.Hold(etcdtest.ToServer)
	// Of another key: what was held still arrives after the end of the call, and would overtake what is put next.
	if _, err := c.Put(within(t), "late", "1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with requests held: %v, want a deadline", err)
	}
	if r, err := direct.Get(t.Context(), "late"); err != nil || len(r.Kvs) != 0 {
		t.Errorf("with requests held, etcd has %v, %v, want nothing", r, err)
	}
	proxy.Heal()
	put(t, c, "2")

	proxy.Hold(etcdtest.ToClient)
	arrived := direct.Watch(t.Context(), "k", clientv3.WithFilterDelete())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := c.Put(ctx, "k", "3")
		answered <- err
	}()
	// The request passes, which no clock tells.
	for r := range arrived {
		if err := r.Err(); err != nil {
			t.Fatalf("watching etcd: %v", err)
		}
		if len(r.Events) != 0 && string(r.Events[len(r.Events)-1].Kv.Value) == "3" {
			break
		}
	}
	select {
	case err := <-answered:
		t.Errorf("with answers held, the call ended: %v", err)
	default:
	}
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("with answers held: %v, want a call that was cancelled", err)
	}
	proxy.Heal()
	if got := get(t, c); got != "3" {
		t.Errorf("healed, the client reads %q, want 3", got)
	}
}

func TestDelayHoldsEachAnswerThatLong(t *testing.T) {
	proxy := etcdtest.Start(t).Proxy(t)
	c := proxy.Client(t)
	put(t, c, "v")
	const delay = 200 * time.Millisecond
	proxy.Delay(etcdtest.ToClient, delay)
	for range 3 {
		begun := time.Now()
		get(t, c)
		if took := time.Since(begun); took < delay || took > 5*delay {
			t.Errorf("an answer delayed by %v took %v", delay, took)
		}
	}
}

func TestCutBreaksWatchesUntilHeal(t *testing.T) {
	s := etcdtest.Start(t)
	proxy := s.Proxy(t)
	c := proxy.Client(t)
	watch := c.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
	<-watch

	proxy.Cut()
	if _, err := c.Get(within(t), "k"); err == nil {
		t.Error("a cut proxy passed a read")
	}
	put(t, s.Client(t), "v")
	select {
	case r := <-watch:
		t.Errorf("a cut proxy passed %v", r)
	default:
	}
	proxy.Heal()
	if r := <-watch; r.Err() != nil || len(r.Events) != 1 {
		t.Errorf("healed, the watch delivered %d events, error %v", len(r.Events), r.Err())
	}
}
