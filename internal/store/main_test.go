package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen. A loaded machine is slow.
const patience = 30 * time.Second

const prefix = store.DefaultNamespace

// replica is a store with its view, as one replica has them.
type replica struct {
	*store.Store
	view *view.View
}

// newReplica returns a replica that serves the rotating token "t" and the idempotent token "s". change may be nil.
func newReplica(t *testing.T, client *clientv3.Client, change func(*store.Config)) *replica {
	t.Helper()
	cfg := store.Config{Client: client, Clock: clock.New(), Logger: slog.New(slog.DiscardHandler), Replica: "r", SyncEvery: 50 * time.Millisecond, Sealer: plain{}}
	if change != nil {
		change(&cfg)
	}
	cfg.View = view.New(view.Config{Clock: cfg.Clock})
	r := &replica{view: cfg.View}
	r.configure(t, 5*time.Minute, "t")
	s, err := store.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Store = s
	return r
}

// configure makes the replica serve rotating tokens with that overlap, and the idempotent token "s".
func (r *replica) configure(t *testing.T, overlap time.Duration, names ...string) {
	t.Helper()
	specs := []view.Spec{{Name: "s", Traits: token.Traits{Kind: "stable", MaxLife: 2 * time.Hour}}}
	for _, name := range names {
		specs = append(specs, view.Spec{
			Name: name, Timing: token.TimingFor(overlap),
			Traits: token.Traits{Kind: "classic", Rotating: true, Overlap: overlap, MaxLife: 2 * time.Hour},
		})
	}
	if err := r.view.Configure(specs); err != nil {
		t.Fatal(err)
	}
}

// run runs the feed until the test ends, or until stop is called, which returns when it has ended.
func (r *replica) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// awaitVersion waits until the view has a version of a token.
func (r *replica) awaitVersion(t *testing.T, name string, version int64) {
	t.Helper()
	deadline := time.After(patience)
	for held := r.view.Token(name); ; {
		changed := held.Changed()
		if held.Version() >= version {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the view has version %d of %s, and never got %d", held.Version(), name, version)
		}
	}
}

// awaitState waits until a token is in that state.
func (r *replica) awaitState(t *testing.T, name string, state view.State) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is %v", name, state), func() bool { return r.view.Token(name).Read().State == state })
}

// eventually waits for what no channel tells of.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to pass that %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// elect makes a leader, as package leader would, and returns the fence of its term.
func elect(t *testing.T, client *clientv3.Client, s *store.Store, candidate string) store.Fence {
	t.Helper()
	key := s.ElectionPrefix() + "/" + candidate
	resp, err := client.Put(t.Context(), key, "{}")
	if err != nil {
		t.Fatal(err)
	}
	return store.Fence{Key: key, Revision: resp.Header.Revision}
}

func depose(t *testing.T, client *clientv3.Client, fence store.Fence) {
	t.Helper()
	if _, err := client.Delete(t.Context(), fence.Key); err != nil {
		t.Fatal(err)
	}
}

// mustWrite writes a record and returns its revision.
func mustWrite(t *testing.T, l *store.Ledger, revision int64, rec token.Record, orphans ...string) int64 {
	t.Helper()
	written, err := l.Write(t.Context(), revision, rec, orphans...)
	if err != nil {
		t.Fatalf("writing version %d: %v", rec.Version, err)
	}
	return written
}

func mustRead(t *testing.T, l *store.Ledger) token.Entry {
	t.Helper()
	entry, err := l.Read(t.Context())
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	return entry
}

// find returns the key as etcd has it; nil if it is not there.
func find(t *testing.T, client *clientv3.Client, key string) *keyValue {
	t.Helper()
	resp, err := client.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return nil
	}
	kv := resp.Kvs[0]
	return &keyValue{value: string(kv.Value), create: kv.CreateRevision, mod: kv.ModRevision, puts: kv.Version, lease: clientv3.LeaseID(kv.Lease)}
}

type keyValue struct {
	value       string
	create, mod int64
	puts        int64
	lease       clientv3.LeaseID
}

func keys(t *testing.T, client *clientv3.Client, under string) []string {
	t.Helper()
	resp, err := client.Get(t.Context(), under, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, kv := range resp.Kvs {
		names = append(names, strings.TrimPrefix(string(kv.Key), prefix))
	}
	return names
}

// version is a healthy record.
func version(n int64) token.Record {
	return token.Record{
		Version: n, Value: token.NewSecret(fmt.Sprint("value of version ", n)), IssuedAt: time.Now().UTC().Truncate(time.Millisecond), Life: 2 * time.Hour,
		Resolved: token.Resolution{Attempt: fmt.Sprint("attempt of version ", n), Outcome: token.OutcomeToken},
	}
}

func begun(rec token.Record, attempt string) token.Record {
	rec.Pending = &token.Intent{Attempt: attempt, Term: 1, At: time.Now().UTC()}
	return rec
}

// diff compares values that hold secrets.
func diff(want, got any) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b token.Secret) bool { return a == b }))
}

// hands are clocks that stand still until a test moves them.
type hands struct{ passed atomic.Int64 }

func (h *hands) read() (time.Duration, time.Time) {
	passed := time.Duration(h.passed.Load())
	return passed, time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC).Add(passed)
}
