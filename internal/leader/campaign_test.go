package leader_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/leader"
)

// leaseOf returns the lease that a candidate's key is named after.
func leaseOf(t *testing.T, key string) clientv3.LeaseID {
	t.Helper()
	id, err := strconv.ParseInt(key[len(prefix)+1:], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return clientv3.LeaseID(id)
}

func revoke(t *testing.T, client *clientv3.Client, key string) {
	t.Helper()
	if _, err := client.Revoke(t.Context(), leaseOf(t, key)); err != nil {
		t.Fatal(err)
	}
}

// stands checks that a lead that has just begun is what etcd says.
func stands(t *testing.T, client *clientv3.Client, l *lead) {
	t.Helper()
	r, err := client.Get(t.Context(), prefix+"/", clientv3.WithFirstCreate()...)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) == 0 || string(r.Kvs[0].Key) != l.term.Key || r.Kvs[0].CreateRevision != l.term.Revision {
		t.Errorf("somebody leads with key %s and term %d, but etcd has %v", l.term.Key, l.term.Revision, r.Kvs)
	}
}

func TestPhantomNeverLeads(t *testing.T) {
	t.Parallel()
	for name, vanish := range map[string]func(t *testing.T, client *clientv3.Client, waiting, leading string){
		"lease revoked, then the way is free": func(t *testing.T, client *clientv3.Client, waiting, leading string) {
			t.Helper()
			revoke(t, client, waiting)
			revoke(t, client, leading)
		},
		"key deleted with the one ahead": func(t *testing.T, client *clientv3.Client, waiting, leading string) {
			t.Helper()
			if _, err := client.Txn(t.Context()).Then(clientv3.OpDelete(leading), clientv3.OpDelete(waiting)).Commit(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := etcdtest.Start(t)
			client := server.Client(t)
			a := play(t, client, leader.Config{ID: "a"})
			first := a.next(t)
			b := play(t, server.Client(t), leader.Config{ID: "b"})
			keys := queued(t, client, 2)
			vanish(t, client, keys[1], keys[0])

			first.lost(t, leader.ErrTrustLost)
			// Both come back, with other keys. Whoever leads does so in truth.
			again := queued(t, client, 2)
			for _, key := range again {
				if key == keys[0] || key == keys[1] {
					t.Errorf("%s stands again", key)
				}
			}
			select {
			case l := <-a.leads:
				stands(t, client, l)
			case l := <-b.leads:
				stands(t, client, l)
			case <-time.After(patience):
				t.Fatal("nobody leads")
			}
		})
	}
}

// A candidate that is cut off while it waits loses its lease without being told. What it hears when it is back is that the way is
// free; but that was long ago.
func TestCandidateThatLostItsLeaseInAPartitionNeverLeadsWithIt(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client, proxy := server.Client(t), server.Proxy(t)
	a := play(t, client, leader.Config{ID: "a"})
	first := a.next(t)
	waits := make(chan struct{})
	b := play(t, proxy.Client(t, onWatch(waits)), leader.Config{ID: "b"})
	<-waits
	waiting := queued(t, client, 2)[1]

	proxy.Hold(etcdtest.Both)
	revoke(t, client, waiting)
	a.Resign(first.term.Revision)
	second := a.next(t)
	proxy.Heal()
	queued(t, client, 2)
	b.none(t)
	a.Resign(second.term.Revision)
	l := b.next(t)
	stands(t, client, l)
	if l.term.Key == waiting {
		t.Errorf("the candidate leads with the key %s, which was deleted", waiting)
	}
}

// Nothing is wrong with etcd or the key, but the candidate no longer knows that.
func TestCandidateThatLosesTrustStartsOver(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	play(t, client, leader.Config{ID: "a"}).next(t)
	var b bent
	waits := play(t, client, leader.Config{ID: "b", Clock: b.clock()})
	before := queued(t, client, 2)[1]
	begun := time.Now()
	b.jump(0, time.Hour)
	for now := before; now == before; now = queued(t, client, 2)[1] {
		if time.Since(begun) > ample/2 {
			t.Fatal("the candidate waits on with the trust lost")
		}
	}
	waits.none(t)
}

// What was read before is only a hint: the transaction proves the win.
func TestKeyLostOnTheWayToTheLeadDoesNotLead(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client := server.Client(t)
	lost, byHand := "", prefix+"/by-hand"
	p := play(t, server.Client(t, before(txn, func() {
		lost = queued(t, client, 1)[0]
		if _, err := client.Txn(t.Context()).Then(clientv3.OpDelete(lost), clientv3.OpPut(byHand, "")).Commit(); err != nil {
			t.Error(err)
		}
	})), leader.Config{ID: "a"})
	if got := queued(t, client, 2); got[0] != byHand || got[1] == lost {
		t.Fatalf("%v stand, want %s and a new key", got, byHand)
	}
	p.none(t)
	if _, err := client.Delete(t.Context(), byHand); err != nil {
		t.Fatal(err)
	}
	stands(t, client, p.next(t))
}

// Some versions of etcd answer linearizable reads from the past (issue 20418).
func TestCandidateIsNotMisledByAFalseRead(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client := server.Client(t)
	a := play(t, client, leader.Config{ID: "a"})
	l := a.next(t)
	misled := make(chan struct{}, 1)
	b := play(t, server.Client(t, afterReads(func(r *pb.RangeResponse) {
		r.Kvs = r.Kvs[:min(1, len(r.Kvs))] // nobody but the reader itself
		select {
		case misled <- struct{}{}:
		default:
		}
	})), leader.Config{ID: "b"})
	<-misled
	l.lasts(t, ttl)
	b.none(t)
	a.stop(errTestOver)
	stands(t, client, b.next(t))
}

func TestWatchMissesNothingSinceTheRead(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client := server.Client(t)
	a := play(t, client, leader.Config{ID: "a"})
	l := a.next(t)
	key := watchKey(t, client, l.term)
	var once sync.Once
	b := play(t, server.Client(t, afterReads(func(*pb.RangeResponse) {
		once.Do(func() {
			a.stop(errTestOver)
			<-key.deleted
		})
	})), leader.Config{ID: "b", TTL: 20 * time.Second})
	begun := time.Now()
	b.next(t)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the candidate missed what happened between its read and its watch, and led only after %v", took)
	}
}

func TestUnknownOutcomesLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		method string
		nth    int
		leases int // that stand afterwards
	}{
		"grant":        {grant, 1, 2}, // nobody knows the id of the first
		"entry":        {put, 1, 1},
		"proclamation": {txn, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := etcdtest.Start(t)
			client := server.Client(t)
			broken := server.Client(t, loseAnswer(fault.method, fault.nth))
			begun := time.Now()
			l := play(t, broken, leader.Config{ID: "a", TTL: 10 * time.Second}).next(t)
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("the lead began after %v: it waited for the first lease to expire", took)
			}
			stands(t, client, l)
			queued(t, client, 1)
			leases, err := client.Leases(t.Context())
			if err != nil || len(leases.Leases) != fault.leases {
				t.Errorf("leases %v, %v; want %d", leases, err, fault.leases)
			}
			l.lasts(t, 0)
		})
	}
}

func TestLostKeyEndsTheLeadAtOnce(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(*testing.T, *clientv3.Client, string){
		"lease revoked": revoke,
		// The lease lives: keep-alives notice nothing, ever.
		"key deleted": func(t *testing.T, client *clientv3.Client, key string) {
			t.Helper()
			if _, err := client.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := etcdtest.Start(t).Client(t)
			a := play(t, client, leader.Config{ID: "a", TTL: 8 * time.Second})
			l := a.next(t)
			l.lasts(t, 100*time.Millisecond)
			begun := time.Now()
			remove(t, client, l.term.Key)
			l.lost(t, leader.ErrTrustLost)
			if took := time.Since(begun); took > 1500*time.Millisecond {
				t.Errorf("the lead ended %v after its key, as if a keep-alive had told", took)
			}
			stands(t, client, a.next(t))
		})
	}
}

func TestWatchesRequireALeader(t *testing.T) {
	t.Parallel()
	asked := make(chan []string, 100)
	client := etcdtest.Start(t).Client(t, requireLeaders(asked))
	play(t, client, leader.Config{ID: "a"}).next(t)
	if got := <-asked; !slices.Equal(got, []string{rpctypes.MetadataHasLeader}) {
		t.Errorf("the leader's watch asks for %v", got)
	}
	observer := etcdtest.Start(t).Client(t, requireLeaders(asked))
	observe(t, observer, never)
	if got := <-asked; !slices.Equal(got, []string{rpctypes.MetadataHasLeader}) {
		t.Errorf("the observer's watch asks for %v", got)
	}
}

func TestEndedLeaseIsNoticedByTheNextKeepAlive(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	l := play(t, server.Client(t, muteWatches()), leader.Config{ID: "a", TTL: 8 * time.Second}).next(t)
	begun := time.Now()
	revoke(t, server.Client(t), l.term.Key)
	l.lost(t, leader.ErrTrustLost)
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the lead ended %v after its lease, with a keep-alive every 2 s", took)
	}
}

func TestSilentWatchesDelayButDoNotMislead(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client := server.Client(t)
	a := play(t, server.Client(t, muteWatches()), leader.Config{ID: "a", TTL: ttl})
	l := a.next(t)
	b := play(t, server.Client(t, muteWatches()), leader.Config{ID: "b", TTL: ttl})
	queued(t, client, 2)

	// The leader finds out that its key is gone, the candidate that the way is free.
	begun := time.Now()
	if _, err := client.Delete(t.Context(), l.term.Key); err != nil {
		t.Fatal(err)
	}
	l.lost(t, leader.ErrTrustLost)
	stands(t, client, b.next(t))
	if took := time.Since(begun); took > ttl+time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestCandidateSurvivesCompaction(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client, proxy := server.Client(t), server.Proxy(t)
	a := play(t, client, leader.Config{ID: "a", TTL: 20 * time.Second})
	l := a.next(t)
	waits := make(chan struct{})
	b := play(t, proxy.Client(t, onWatch(waits)), leader.Config{ID: "b", TTL: 20 * time.Second})
	<-waits

	// The watch resumes from a revision that is no longer there.
	proxy.Cut()
	key := watchKey(t, client, l.term)
	a.Resign(l.term.Revision)
	key.wait(t)
	r, err := client.Put(t.Context(), "unrelated", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	proxy.Heal()
	stands(t, client, b.next(t))
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the candidate led %v after the network was back", took)
	}
}

func TestCandidateWaitsForAnotherKindOfCandidate(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	// As `etcdctl elect` or an operator would: any older key under the prefix is ahead.
	if _, err := client.Put(t.Context(), prefix+"/by-hand", "not JSON"); err != nil {
		t.Fatal(err)
	}
	p := play(t, client, leader.Config{ID: "a", TTL: ttl})
	queued(t, client, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 2*ttl)
	defer cancel()
	<-ctx.Done()
	p.none(t)
	if _, err := client.Delete(t.Context(), prefix+"/by-hand"); err != nil {
		t.Fatal(err)
	}
	stands(t, client, p.next(t))
}
