package leader

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Candidate is one candidate's key.
type Candidate struct {
	// Proclamation is zero if the key's value is not the JSON of one: somebody else, such as etcdctl, takes part.
	Proclamation
	Key      string
	Revision int64 // create revision of Key: the place in the queue
}

func (c Candidate) equal(other Candidate) bool {
	return c.Key == other.Key && c.Revision == other.Revision && c.ID == other.ID && c.Address == other.Address &&
		c.Since.Equal(other.Since) && maps.Equal(c.Labels, other.Labels)
}

// Election is the state of the election at one moment. It is not modified once it is published.
type Election struct {
	// Leader is the first of Candidates; nil if there is none.
	Leader *Candidate
	// Candidates is ordered: the leader, then who leads next.
	Candidates []Candidate
	// Revision is the etcd revision of this state. 0 before the first was seen.
	Revision int64
}

// Observer watches an election without taking part. It shows what etcd said last: a follower's view, which may be late, and on which no
// safety can rest.
type Observer struct {
	client *clientv3.Client
	cfg    Config
	state  atomic.Pointer[observed]
}

// observed is what readers get, in one piece.
type observed struct {
	Election
	changed chan struct{} // closed when another state follows
}

// NewObserver returns an Observer of the election at cfg.Prefix. Of cfg it uses Prefix, TTL and Logger. It starts nothing.
func NewObserver(client *clientv3.Client, cfg Config) *Observer {
	o := &Observer{client: client, cfg: cfg.withDefaults()}
	o.state.Store(&observed{changed: make(chan struct{})})
	return o
}

// Election returns the latest known state. It takes no lock.
func (o *Observer) Election() Election { return o.state.Load().Election }

// Changed returns a channel that is closed when the candidates, their order or what they say of themselves change. Take it before
// Election to miss nothing.
func (o *Observer) Changed() <-chan struct{} { return o.state.Load().changed }

// Run keeps the state up to date until ctx ends, and then returns nil. While etcd is away the last state stands.
func (o *Observer) Run(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		begun := o.cfg.Clock.Now()
		if err := o.follow(ctx); err != nil && ctx.Err() == nil {
			failing = failing && o.cfg.Clock.Now().Sub(begun) < 2*o.cfg.TTL // it had worked for a while
			o.cfg.Logger.Log(ctx, failureLevel(failing), "observing the election failed; trying on", slog.Any("err", err))
			failing = true
			pause(ctx, o.cfg.retry())
		}
	}
	return nil
}

// follow reads the election and applies what the watch brings, until that breaks. It reads again once in a TTL, in case the watch has
// fallen silent.
func (o *Observer) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	candidates, at, err := o.read(ctx)
	if err != nil {
		return err
	}
	// Watch returns only when etcd has confirmed it.
	late := time.AfterFunc(o.cfg.call(), cancel)
	watch := o.client.Watch(clientv3.WithRequireLeader(ctx), o.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(at+1))
	if !late.Stop() {
		return errors.New("etcd did not confirm the watch in time")
	}
	again := time.NewTicker(o.cfg.TTL)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			if candidates, at, err = o.read(ctx); err != nil {
				return err
			}
		case r, ok := <-watch:
			if !ok {
				return errors.New("the watch ended")
			}
			if err := r.Err(); err != nil {
				return fmt.Errorf("watching: %w", err)
			}
			for _, e := range r.Events {
				if e.Kv.ModRevision <= at {
					continue
				}
				if e.Type == mvccpb.Event_DELETE {
					delete(candidates, string(e.Kv.Key))
				} else {
					candidates[string(e.Kv.Key)] = candidate(e.Kv)
				}
			}
			at = max(at, r.Header.Revision)
			o.publish(candidates, at)
		}
	}
}

func (o *Observer) read(ctx context.Context) (map[string]Candidate, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, o.cfg.call())
	defer cancel()
	r, err := o.client.Get(ctx, o.cfg.Prefix+"/", clientv3.WithPrefix())
	if err != nil {
		return nil, 0, fmt.Errorf("reading the candidates: %w", err)
	}
	candidates := make(map[string]Candidate, len(r.Kvs))
	for _, kv := range r.Kvs {
		candidates[string(kv.Key)] = candidate(kv)
	}
	o.publish(candidates, r.Header.Revision)
	return candidates, r.Header.Revision, nil
}

func candidate(kv *mvccpb.KeyValue) Candidate {
	c := Candidate{Key: string(kv.Key), Revision: kv.CreateRevision}
	if json.Unmarshal(kv.Value, &c.Proclamation) != nil {
		c.Proclamation = Proclamation{}
	}
	c.Since = c.Since.UTC() // so that candidates can be compared
	return c
}

// publish is called by Run only.
func (o *Observer) publish(candidates map[string]Candidate, at int64) {
	before := o.state.Load()
	now := &observed{changed: before.changed}
	now.Revision = at
	now.Candidates = slices.SortedFunc(maps.Values(candidates), func(a, b Candidate) int { return cmp.Compare(a.Revision, b.Revision) })
	if len(now.Candidates) > 0 {
		now.Leader = &now.Candidates[0]
	}
	same := before.Revision > 0 && slices.EqualFunc(before.Candidates, now.Candidates, Candidate.equal)
	if !same {
		now.changed = make(chan struct{})
	}
	o.state.Store(now)
	if !same {
		close(before.changed)
	}
}
