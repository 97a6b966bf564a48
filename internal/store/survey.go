package store

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// AtRest is one sealed value as it stands in etcd.
type AtRest struct {
	// Key is where it stands, and Name the token's. Attempt is set for an orphan.
	Key, Name, Attempt string
	// Sealed is the value, which may be anything; empty if what stands there cannot be read.
	Sealed []byte
	// Err is why it does not open, or cannot be read; nil if it does.
	Err error
}

// Survey looks at every value in the namespace, linearizably and at one revision: those of records, and those of orphans. It makes one
// call to etcd, and repeats that until ctx ends.
func (s *Store) Survey(ctx context.Context) ([]AtRest, error) {
	var resp *clientv3.TxnResponse
	err := s.persist(ctx, "reading every value", func(ctx context.Context) (err error) {
		resp, err = s.client.Txn(ctx).Then(
			clientv3.OpGet(s.keys.tokens(), clientv3.WithPrefix()), clientv3.OpGet(s.keys.orphans(), clientv3.WithPrefix())).Commit()
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []AtRest
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		all = s.look(all, kv, strings.TrimPrefix(string(kv.Key), s.keys.tokens()), "")
	}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		name, attempt, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), s.keys.orphans()), "/")
		all = s.look(all, kv, name, attempt)
	}
	return all, nil
}

// look adds the value of a key, if it has one.
func (s *Store) look(all []AtRest, kv *mvccpb.KeyValue, name, attempt string) []AtRest {
	v := AtRest{Key: string(kv.Key), Name: name, Attempt: attempt}
	if v.Sealed, v.Err = sealedIn(kv.Value); v.Err != nil {
		v.Err = fmt.Errorf("%s cannot be read: %w", v.Key, v.Err)
	} else if len(v.Sealed) == 0 {
		return all
	} else if _, err := s.open(v.Key, v.Sealed); err != nil {
		v.Err = err
	}
	return append(all, v)
}
