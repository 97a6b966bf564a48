package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// orphanLife is how long an orphan waits for a leader to read it, in seconds. Longer than any quiet wait.
const orphanLife = 3600

// Fence names a term: the election key and its create revision.
type Fence struct {
	Key      string
	Revision int64
}

// Ledger is one token's record as the leader of one term may change it.
type Ledger struct {
	store *Store
	name  string
	fence Fence
}

// Ledger returns the ledger of the named token under the fence of a term.
func (s *Store) Ledger(name string, fence Fence) *Ledger {
	return &Ledger{store: s, name: name, fence: fence}
}

// Read reads the record and its orphans linearizably, at one revision. It repeats what fails in passing until ctx ends.
func (l *Ledger) Read(ctx context.Context) (token.Entry, error) {
	s, key := l.store, l.store.keys.token(l.name)
	prefix := s.keys.orphansOf(l.name)
	var resp *clientv3.TxnResponse
	err := s.persist(ctx, "reading a token record", func(ctx context.Context) (err error) {
		resp, err = s.client.Txn(ctx).Then(clientv3.OpGet(key), clientv3.OpGet(prefix, clientv3.WithPrefix())).Commit()
		return err
	})
	if err != nil {
		return token.Entry{}, err
	}
	var entry token.Entry
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		entry.Revision = kvs[0].ModRevision
		if entry.Record, err = s.decodeRecord(key, kvs[0].Value); err != nil {
			return token.Entry{}, err
		}
	}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		entry.Orphans = append(entry.Orphans, s.readOrphan(prefix, kv))
	}
	return entry, nil
}

// readOrphan decodes an orphan. One that cannot be read is taken for the worst that it could be.
func (s *Store) readOrphan(prefix string, kv *mvccpb.KeyValue) token.Orphan {
	attempt := strings.TrimPrefix(string(kv.Key), prefix)
	orphan, err := s.decodeOrphan(string(kv.Key), attempt, kv.Value)
	if err != nil {
		s.log.Error("an orphan cannot be read; taking it for a request that was written late", "err", err)
		return token.Orphan{Attempt: attempt, Outcome: token.OutcomeUnknown, Late: true}
	}
	return orphan
}

// Write replaces the record in one transaction with the fence and the comparison of its revision, and deletes the orphans of the
// named attempts with it. A transaction whose answer was lost is repeated; if the repetition finds the record changed, the record
// itself tells, by the write's random id, whether it was the first try that changed it.
func (l *Ledger) Write(ctx context.Context, revision int64, rec token.Record, orphans ...string) (int64, error) {
	s, key := l.store, l.store.keys.token(l.name)
	data, err := s.encodeRecord(key, rand.Text(), l.fence.Revision, rec)
	if err != nil {
		return 0, err
	}
	ops := []clientv3.Op{clientv3.OpPut(key, string(data)), clientv3.OpPut(s.keys.head(), l.name)}
	for _, attempt := range orphans {
		ops = append(ops, clientv3.OpDelete(s.keys.orphan(l.name, attempt)))
	}
	var written int64
	era := s.compass.known().Era
	err = s.persist(ctx, "writing a token record", func(ctx context.Context) error {
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(l.fence.Key), "=", l.fence.Revision),
				clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
			Then(ops...).
			Else(clientv3.OpGet(l.fence.Key), clientv3.OpGet(key)).
			Commit()
		// gofail: var storeAnswerLost struct{}
		// err = context.DeadlineExceeded
		if err != nil {
			return err
		}
		if resp.Succeeded {
			written = resp.Header.Revision
			return nil
		}
		written, err = l.refused(resp, data)
		return err
	})
	if err == nil {
		s.compass.wrote(era, written)
	}
	return written, err
}

// refused reads from the transaction's other branch why it did not succeed.
func (l *Ledger) refused(resp *clientv3.TxnResponse, data []byte) (int64, error) {
	if kvs := resp.Responses[1].GetResponseRange().Kvs; len(kvs) > 0 && bytes.Equal(kvs[0].Value, data) {
		return kvs[0].ModRevision, nil // an earlier try of this very write
	}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 0 || kvs[0].CreateRevision != l.fence.Revision {
		return 0, token.ErrDeposed
	}
	return 0, token.ErrConflict
}

// Leave writes an orphan, on a lease of an hour, and repeats that until it is done or ctx ends. It is not fenced.
func (l *Ledger) Leave(ctx context.Context, o token.Orphan) error {
	s, key := l.store, l.store.keys.orphan(l.name, o.Attempt)
	data, err := s.encodeOrphan(key, o)
	if err != nil {
		return err
	}
	return s.persist(ctx, "leaving an outcome to the next leader", func(ctx context.Context) error {
		// gofail: var storeBeforeLeave struct{}
		return s.putLeased(ctx, key, data, orphanLife)
	})
}

// putLeased puts a key on a lease of its own. A lease whose put failed is left to expire.
func (s *Store) putLeased(ctx context.Context, key string, data []byte, seconds int64) error {
	lease, err := s.client.Grant(ctx, seconds)
	if err != nil {
		return err
	}
	_, err = s.client.Put(ctx, key, string(data), clientv3.WithLease(lease.ID))
	return err
}
