package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

const (
	// readPace is the average time between two reads, and readTime how long one may take.
	readPace = time.Second
	readTime = 3 * time.Second
	// Between two watches on a member, and how often one that meets a compaction waits for another member's watch to be ahead of it.
	rewatch = 100 * time.Millisecond
	catchUp = 30
)

// ErrMissed is returned by an Observer that cannot tell every revision: etcd compacted some away before any member told of them.
var ErrMissed = errors.New("etcd compacted revisions that were not seen")

// ObserverConfig says what is observed.
type ObserverConfig struct {
	Recorder *history.Recorder
	// Members has a client for each member of etcd, which reaches that member alone, past every proxy. Each is watched, and the first
	// to tell of a revision is heard: a member that is cut off from the others knows nothing new.
	Members []*clientv3.Client
	// Namespace is the brokers' prefix in etcd, with its slash.
	Namespace string
	// Keyset opens what the brokers have sealed; nil if they seal nothing.
	Keyset *seal.Keyset
	Tokens []string
	Rand   *rand.Rand
}

// Observer watches the brokers' keys in etcd, from etcd's first revision on, and reads the records. Its methods are safe for concurrent
// use.
type Observer struct {
	cfg ObserverConfig

	mu         sync.Mutex // guards all below
	seen       int64      // all revisions up to it are in the history
	candidates map[string]history.Candidate
}

// NewObserver returns an Observer that sees nothing yet.
func NewObserver(cfg ObserverConfig) *Observer {
	return &Observer{cfg: cfg, candidates: make(map[string]history.Candidate)}
}

// Run watches and reads until ctx ends; then it returns nil. It fails if a revision was missed or a record cannot be read.
func (o *Observer) Run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, member := range o.cfg.Members {
		all.Go(func() error { return o.follow(ctx, member) })
	}
	all.Go(func() error { return o.read(ctx) })
	return all.Wait()
}

// Seen returns the revision up to which everything is in the history. What is older may be compacted without loss.
func (o *Observer) Seen() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen
}

// CatchUp waits until the history has the newest of the brokers' keys. Run runs meanwhile.
func (o *Observer) CatchUp(ctx context.Context) error {
	resp, err := o.cfg.Members[0].Get(ctx, o.cfg.Namespace, clientv3.WithLastRev()...)
	if err != nil {
		return fmt.Errorf("asking etcd for its newest key: %w", err)
	}
	for len(resp.Kvs) > 0 && o.Seen() < resp.Kvs[0].ModRevision {
		if !Pause(ctx, rewatch) {
			return fmt.Errorf("waiting for etcd's newest key: %w", context.Cause(ctx))
		}
	}
	return nil
}

// follow watches one member, again and again.
func (o *Observer) follow(ctx context.Context, member *clientv3.Client) error {
	behind := 0
	for ctx.Err() == nil {
		for resp := range member.Watch(ctx, o.cfg.Namespace, clientv3.WithPrefix(), clientv3.WithRev(o.Seen()+1)) {
			switch {
			case resp.CompactRevision > o.Seen()+1:
				if behind++; behind > catchUp {
					return fmt.Errorf("%w: from %d to %d", ErrMissed, o.Seen()+1, resp.CompactRevision)
				}
			case resp.Err() == nil:
				behind = 0
				if err := o.hear(resp.Events); err != nil {
					return err
				}
			}
		}
		Pause(ctx, rewatch)
	}
	return nil
}

// hear takes in what one member's watch told, as far as no other has told it before. Each watch tells all revisions in their order.
func (o *Observer) hear(events []*clientv3.Event) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(events) > 0 {
		revision := events[0].Kv.GetModRevision()
		n := 1
		for n < len(events) && events[n].Kv.GetModRevision() == revision {
			n++
		}
		if revision > o.seen {
			o.seen = revision
			if err := o.changed(events[:n]); err != nil {
				return err
			}
		}
		events = events[n:]
	}
	return nil
}

// changed writes the events of one revision into the history. It is called with mu held.
func (o *Observer) changed(events []*clientv3.Event) error {
	now, elected := o.cfg.Recorder.Now(), false
	for _, ev := range events {
		part, rest, _ := strings.Cut(strings.TrimPrefix(string(ev.Kv.GetKey()), o.cfg.Namespace), "/")
		switch {
		case part == "token":
			e := history.Event{Kind: history.Record, Token: rest, Sent: now, Received: now}
			if ev.Type == mvccpb.Event_DELETE {
				e.Detail = fmt.Sprintf("deleted at revision %d", ev.Kv.GetModRevision())
			} else {
				var err error
				if e.Stored, err = o.decode(ev.Kv); err != nil {
					return err
				}
			}
			o.cfg.Recorder.Add(e)
		case part == "election" && ev.Type == mvccpb.Event_DELETE:
			elected = true
			delete(o.candidates, string(ev.Kv.GetKey()))
		case part == "election":
			elected = true
			o.candidates[string(ev.Kv.GetKey())] = candidate(ev.Kv)
		}
	}
	if elected {
		o.cfg.Recorder.Add(history.Event{
			Kind: history.Election, Sent: now, Received: now,
			Candidates: slices.SortedFunc(maps.Values(o.candidates), func(a, b history.Candidate) int { return cmp.Compare(a.Created, b.Created) }),
		})
	}
	return nil
}

// read reads all records linearizably, each time from another member. A read that fails tells nothing.
func (o *Observer) read(ctx context.Context) error {
	for Pause(ctx, readPace/2+time.Duration(o.cfg.Rand.Int64N(int64(readPace)))) {
		member := o.cfg.Members[o.cfg.Rand.IntN(len(o.cfg.Members))]
		rctx, cancel := context.WithTimeout(ctx, readTime)
		sent := o.cfg.Recorder.Now()
		resp, err := member.Get(rctx, o.cfg.Namespace+"token/", clientv3.WithPrefix())
		received := o.cfg.Recorder.Now()
		cancel()
		if err != nil {
			continue
		}
		stood := map[string]*history.Stored{}
		for _, kv := range resp.Kvs {
			if stood[strings.TrimPrefix(string(kv.GetKey()), o.cfg.Namespace+"token/")], err = o.decode(kv); err != nil {
				return err
			}
		}
		for _, name := range o.cfg.Tokens {
			o.cfg.Recorder.Add(history.Event{Kind: history.Read, Token: name, Sent: sent, Received: received, Stored: stood[name]})
		}
	}
	return nil
}
