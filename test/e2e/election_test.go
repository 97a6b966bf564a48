package e2e_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// election follows the keys of the election in etcd, as anybody with etcdctl could, and notes when it saw each term begin.
type election struct {
	mu    sync.Mutex
	keys  map[string]candidate
	terms []term
}

// candidate is one key of the election.
type candidate struct {
	ID, Address string
	Since       time.Time

	key               string
	created, modified int64
}

// term is the time of one leader.
type term struct {
	candidate
	seen time.Time
}

// followElection follows until the end of the test.
func followElection(t *testing.T, client *clientv3.Client) *election {
	t.Helper()
	e := &election{keys: map[string]candidate{}}
	ctx, cancel := context.WithCancel(context.Background())
	events := client.Watch(ctx, electionPrefix+"/", clientv3.WithPrefix(), clientv3.WithRev(1))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for resp := range events {
			e.apply(resp.Events)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return e
}

// apply takes in changes. The candidate with the smallest create revision leads once it has put its key again to proclaim itself.
func (e *election) apply(events []*clientv3.Event) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range events {
		if ev.Type == mvccpb.DELETE {
			delete(e.keys, string(ev.Kv.Key))
			continue
		}
		c := candidate{key: string(ev.Kv.Key), created: ev.Kv.CreateRevision, modified: ev.Kv.ModRevision}
		if json.Unmarshal(ev.Kv.Value, &c) == nil {
			e.keys[c.key] = c
		}
	}
	first := e.first()
	if first.modified > first.created && (len(e.terms) == 0 || e.terms[len(e.terms)-1].created != first.created) {
		e.terms = append(e.terms, term{first, now})
	}
}

// first returns the candidate that is first in the queue. e.mu is held.
func (e *election) first() candidate {
	var first candidate
	for _, c := range e.keys {
		if first.key == "" || c.created < first.created {
			first = c
		}
	}
	return first
}

// last returns the newest term.
func (e *election) last() term {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.terms) == 0 {
		return term{}
	}
	return e.terms[len(e.terms)-1]
}

// settled reports whether there are so many candidates, the first of which leads.
func (e *election) settled(n int) bool {
	last := e.last()
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.keys) == n && last.key != "" && e.first().key == last.key
}

// next waits for the first term after another.
func (e *election) next(t *testing.T, after term) term {
	t.Helper()
	eventually(t, ample, "another leader than "+after.ID, func() bool { return e.last().created > after.created })
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, next := range e.terms {
		if next.created > after.created {
			return next
		}
	}
	return term{}
}
