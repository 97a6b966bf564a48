package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// ledger returns the ledger of token "t" in a term that has just begun on an empty etcd.
func ledger(t *testing.T) (*clientv3.Client, *replica, store.Fence, *store.Ledger) {
	t.Helper()
	client := etcdtest.Start(t).Client(t)
	r := newReplica(t, client, nil)
	fence := elect(t, client, r.Store, "1")
	l := r.Ledger("t", fence)
	return client, r, fence, l
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	client, _, _, l := ledger(t)
	if got := mustRead(t, l); diff(token.Entry{}, got) != "" {
		t.Errorf("an empty store reads %+v", got)
	}
	first := mustWrite(t, l, 0, version(1))
	rec := begun(version(2), "a")
	second := mustWrite(t, l, first, rec)
	if d := diff(token.Entry{Record: rec, Revision: second}, mustRead(t, l)); d != "" {
		t.Errorf("the record that was read differs from what was written (-want +got):\n%s", d)
	}
	if kv := find(t, client, prefix+"token/t"); kv.mod != second || kv.puts != 2 {
		t.Errorf("etcd has the record at revision %d after %d writes, Write said %d", kv.mod, kv.puts, second)
	}
}

func TestEveryWriteMovesTheHead(t *testing.T) {
	client, r, fence, l := ledger(t)
	revision := mustWrite(t, l, 0, version(1))
	if kv := find(t, client, prefix+"head"); kv.mod != revision {
		t.Errorf("the head was moved at revision %d, the record written at %d", kv.mod, revision)
	}
	other := mustWrite(t, r.Ledger("s", fence), 0, version(1))
	if kv := find(t, client, prefix+"head"); kv.mod != other {
		t.Errorf("the head was moved at revision %d, another record written at %d", kv.mod, other)
	}
}

// A lease would take the version with it.
func TestARecordHangsOnNoLease(t *testing.T) {
	client, _, _, l := ledger(t)
	mustWrite(t, l, mustWrite(t, l, 0, version(1)), version(2))
	for _, key := range []string{prefix + "token/t", prefix + "head"} {
		if kv := find(t, client, key); kv.lease != clientv3.NoLease {
			t.Errorf("%s hangs on lease %x", key, kv.lease)
		}
	}
}

func TestAWriteOfATermThatIsOverIsRefused(t *testing.T) {
	client, r, fence, l := ledger(t)
	revision := mustWrite(t, l, 0, version(1))
	before := find(t, client, prefix+"head").mod
	refused := func(why string, l *store.Ledger) {
		t.Helper()
		if _, err := l.Write(t.Context(), revision, version(2)); !errors.Is(err, token.ErrDeposed) {
			t.Errorf("%s: error %v, want ErrDeposed", why, err)
		}
	}
	depose(t, client, fence)
	refused("the election key is gone", l)
	again := elect(t, client, r.Store, "1")
	refused("the same candidate was elected anew", l)
	refused("the term has not begun", r.Ledger("t", store.Fence{Key: fence.Key, Revision: again.Revision + 100}))
	refused("another's election key", r.Ledger("t", store.Fence{Key: fence.Key + "x", Revision: again.Revision}))
	if kv := find(t, client, prefix+"token/t"); kv.mod != revision {
		t.Error("the record was changed")
	}
	if kv := find(t, client, prefix+"head"); kv.mod != before {
		t.Error("the head was moved")
	}
	mustWrite(t, r.Ledger("t", again), revision, version(2))
}

func TestAWriteThatNamesAnotherRevisionIsRefused(t *testing.T) {
	client, _, _, l := ledger(t)
	for _, revision := range []int64{1, 1000} {
		if _, err := l.Write(t.Context(), revision, version(1)); !errors.Is(err, token.ErrConflict) {
			t.Errorf("there is no record, but revision %d was named: error %v, want ErrConflict", revision, err)
		}
	}
	first := mustWrite(t, l, 0, version(1))
	second := mustWrite(t, l, first, version(2))
	for _, revision := range []int64{0, first, second + 1} {
		if _, err := l.Write(t.Context(), revision, version(3)); !errors.Is(err, token.ErrConflict) {
			t.Errorf("the record is at revision %d, but %d was named: error %v, want ErrConflict", second, revision, err)
		}
	}
	if kv := find(t, client, prefix+"token/t"); kv.mod != second {
		t.Error("the record was changed")
	}
}

func TestALateDuplicateOfAnOlderWriteIsRefused(t *testing.T) {
	etcd, w := etcdtest.Start(t), newWire()
	client := etcd.Client(t, w.options()...)
	r := newReplica(t, client, nil)
	fence := elect(t, client, r.Store, "1")
	l := r.Ledger("t", fence)

	first := mustWrite(t, l, 0, version(1))
	duplicate := w.lastTxn(t)
	if deliver(t, client, duplicate) {
		t.Error("a duplicate of the write was done a second time")
	}
	second := mustWrite(t, l, first, version(2))
	if deliver(t, client, duplicate) {
		t.Error("a duplicate of an older write was done after a newer one of the same term")
	}
	ofSecond := w.lastTxn(t)
	depose(t, client, fence)
	if _, err := client.Delete(t.Context(), prefix+"token/t"); err != nil { // so that only the fence is left to refuse the first
		t.Fatal(err)
	}
	for _, late := range []struct {
		name string
		of   func() bool
	}{
		{"first", func() bool { return deliver(t, client, duplicate) }},
		{"second", func() bool { return deliver(t, client, ofSecond) }},
	} {
		if late.of() {
			t.Errorf("a duplicate of the %s write was done after the end of its term", late.name)
		}
	}
	if second <= first {
		t.Errorf("the second write is at revision %d, the first at %d", second, first)
	}
}

// lose lets etcd do what call asks of it over a proxy, whose connection is open, and loses the answer. It returns when etcd has done it.
func lose(t *testing.T, etcd *etcdtest.Server, proxy *etcdtest.Proxy, key string, call func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := etcd.Client(t).Watch(ctx, key, clientv3.WithCreatedNotify())
	<-done
	proxy.Hold(etcdtest.ToClient)
	go call()
	if resp := <-done; resp.Err() != nil || len(resp.Events) == 0 {
		t.Fatalf("the call did not reach etcd: %v", resp.Err())
	}
	proxy.Cut()
}

type written struct {
	revision int64
	err      error
}

// writing returns a call that writes, and where its result will be.
func writing(ctx context.Context, l *store.Ledger, revision int64, rec token.Record) (func(), chan written) {
	result := make(chan written, 1)
	return func() {
		revision, err := l.Write(ctx, revision, rec)
		result <- written{revision, err}
	}, result
}

func TestAWriteWhoseAnswerWasLostIsDoneOnceAndKnown(t *testing.T) {
	etcd := etcdtest.Start(t)
	direct, proxy := etcd.Client(t), etcd.Proxy(t)
	r := newReplica(t, proxy.Client(t), nil)
	l := r.Ledger("t", elect(t, direct, r.Store, "1"))
	first := mustWrite(t, l, 0, version(1))

	rec := version(2)
	write, result := writing(t.Context(), l, first, rec)
	lose(t, etcd, proxy, prefix+"token/t", write)
	proxy.Heal()
	got := <-result
	kv := find(t, direct, prefix+"token/t")
	if got.err != nil || got.revision != kv.mod || kv.puts != 2 {
		t.Errorf("the write returned revision %d, error %v; etcd has the record at %d after %d writes", got.revision, got.err, kv.mod, kv.puts)
	}
	if d := diff(rec, mustRead(t, l).Record); d != "" {
		t.Errorf("the record differs from what was written (-want +got):\n%s", d)
	}
}

// What matters is what was done, not who leads when the writer learns of it.
func TestAWriteWhoseAnswerWasLostIsKnownThoughTheTermEnded(t *testing.T) {
	etcd := etcdtest.Start(t)
	direct, proxy := etcd.Client(t), etcd.Proxy(t)
	r := newReplica(t, proxy.Client(t), nil)
	fence := elect(t, direct, r.Store, "1")
	l := r.Ledger("t", fence)
	mustRead(t, l)
	write, result := writing(t.Context(), l, 0, version(1))
	lose(t, etcd, proxy, prefix+"token/t", write)
	depose(t, direct, fence)
	proxy.Heal()
	if got := <-result; got.err != nil || got.revision != find(t, direct, prefix+"token/t").mod {
		t.Errorf("the write returned revision %d, error %v", got.revision, got.err)
	}
}

// A record of the same content is not the same write.
func TestAnothersWriteIsNotTakenForOnesOwn(t *testing.T) {
	etcd := etcdtest.Start(t)
	direct, proxy := etcd.Client(t), etcd.Proxy(t)
	r := newReplica(t, proxy.Client(t), nil)
	fence := elect(t, direct, r.Store, "1")
	rec := version(1)

	proxy.Cut()
	write, result := writing(t.Context(), r.Ledger("t", fence), 0, rec)
	go write()
	mustWrite(t, newReplica(t, direct, nil).Ledger("t", fence), 0, rec)
	proxy.Heal()
	if got := <-result; !errors.Is(got.err, token.ErrConflict) {
		t.Errorf("the write returned revision %d, error %v, want ErrConflict", got.revision, got.err)
	}
}

func TestAnOutcomeIsUnknownOnlyWhenTheContextEnds(t *testing.T) {
	etcd := etcdtest.Start(t)
	direct, proxy := etcd.Client(t), etcd.Proxy(t)
	r := newReplica(t, proxy.Client(t), func(cfg *store.Config) { cfg.Timeout = 200 * time.Millisecond })
	l := r.Ledger("t", elect(t, direct, r.Store, "1"))

	mustRead(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	write, result := writing(ctx, l, 0, version(1))
	lose(t, etcd, proxy, prefix+"token/t", write)
	select {
	case got := <-result:
		t.Fatalf("the write gave up with revision %d, error %v", got.revision, got.err)
	case <-time.After(time.Second): // several of its own time-outs
	}
	cancel()
	got := <-result
	if !errors.Is(got.err, context.Canceled) || errors.Is(got.err, token.ErrDeposed) || errors.Is(got.err, token.ErrConflict) {
		t.Errorf("the write returned revision %d, error %v, want the context's", got.revision, got.err)
	}
	proxy.Heal()
	if entry := mustRead(t, l); entry.Record.Version != 1 {
		t.Errorf("the write is known to have been done, but the version is %d", entry.Record.Version)
	}
}

func TestACallWhoseAnswerNeverComesIsRepeated(t *testing.T) {
	wire := newWire()
	client := etcdtest.Start(t).Client(t, wire.options()...)
	r := newReplica(t, client, func(cfg *store.Config) { cfg.Timeout = 100 * time.Millisecond })
	l := r.Ledger("t", elect(t, client, r.Store, "1"))
	var revision int64
	for n := int64(1); n <= 3; n++ {
		calls := wire.count("Txn")
		wire.loseAnswers(2, "Txn", true)
		rec := version(n)
		revision = mustWrite(t, l, revision, rec)
		if kv := find(t, client, prefix+"token/t"); kv.puts != n || kv.mod != revision {
			t.Errorf("version %d was written %d times, at %d; Write said %d", n, kv.puts, kv.mod, revision)
		}
		if made := wire.count("Txn") - calls; made != 3 {
			t.Errorf("two answers got lost, and %d calls were made, want 3", made)
		}
	}
}

func TestCallsOutlastAnEtcdThatIsAway(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	r := newReplica(t, client, func(cfg *store.Config) { cfg.Timeout = 200 * time.Millisecond })
	l := r.Ledger("t", elect(t, client, r.Store, "1"))
	revision := mustWrite(t, l, 0, version(1))

	etcd.Stop()
	write, writtenResult := writing(t.Context(), l, revision, version(2))
	go write()
	left, read := make(chan error, 1), make(chan error, 1)
	go func() { left <- l.Leave(t.Context(), token.Orphan{Attempt: "a", Outcome: token.OutcomeNone}) }()
	go func() {
		_, err := l.Read(t.Context())
		read <- err
	}()
	for _, early := range []<-chan error{left, read} {
		select {
		case err := <-early:
			t.Errorf("a call gave up: %v", err)
		case <-time.After(300 * time.Millisecond):
		}
	}
	etcd.Restart(t)
	if got := <-writtenResult; got.err != nil {
		t.Errorf("writing: %v", got.err)
	}
	for _, err := range []error{<-left, <-read} {
		if err != nil {
			t.Error(err)
		}
	}
	if entry := mustRead(t, l); entry.Record.Version != 2 || len(entry.Orphans) != 1 {
		t.Errorf("after etcd is back the store has version %d and %d orphans", entry.Record.Version, len(entry.Orphans))
	}
}
