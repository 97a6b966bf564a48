package store

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// How long requests and replies stay in the store.
const (
	requestLife   = 600 // seconds
	shortestReply = 5 * time.Second
	longestReply  = 30 * time.Second // then the leader is asked anew, whatever the reply said
)

// post is the replica's picture of what waits for the leader: requests, their replies, and orphans. The feed fills it.
type post struct {
	mu       sync.Mutex
	requests map[string]posted // by key
	orphans  map[string]int64  // by token: the newest orphan's revision
	changed  chan struct{}     // closed at the next change
}

// posted is a request as it stands in the store.
type posted struct {
	revision int64
	request  token.Request
	reply    *token.Reply
	seen     clock.Instant // when it came here
}

// valid reports whether the reply still answers others who ask the same. The feed tells when it is gone from the store, but a replica
// that is cut off does not hear of it.
func (p posted) valid(now clock.Instant) bool {
	return p.reply != nil && now.Sub(p.seen) < replyLife(*p.reply)
}

// replyLife is how long a reply stays, in whole seconds.
func replyLife(reply token.Reply) time.Duration {
	return min(max(reply.RetryAfter.Truncate(time.Second), shortestReply), longestReply)
}

type orphanEvent struct {
	name     string
	revision int64
}

type requestEvent struct {
	key    string
	posted posted
	gone   bool
}

func (p *post) init() {
	p.requests, p.orphans, p.changed = map[string]posted{}, map[string]int64{}, make(chan struct{})
}

// load replaces the picture.
func (p *post) load(orphans []orphanEvent, requests []requestEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.requests)
	clear(p.orphans)
	p.take(orphans, requests)
}

// apply takes in changes.
func (p *post) apply(orphans []orphanEvent, requests []requestEvent) {
	if len(orphans)+len(requests) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.take(orphans, requests)
}

// take notes what came and wakes whoever waits for a change. The caller holds mu.
func (p *post) take(orphans []orphanEvent, requests []requestEvent) {
	for _, o := range orphans {
		p.orphans[o.name] = max(p.orphans[o.name], o.revision)
	}
	for _, r := range requests {
		if r.gone {
			delete(p.requests, r.key)
		} else {
			p.requests[r.key] = r.posted
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *post) lookup(key string) (posted, bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.requests[key]
	return found, ok, p.changed
}

// Letter is a request that waits for the leader's answer.
type Letter struct {
	token.Request
	// Revision tells two requests under one key apart.
	Revision int64
}

// Waiting returns the requests without a reply, for each token the revision of its newest orphan, and a channel that is closed when
// either changes.
func (s *Store) Waiting() ([]Letter, map[string]int64, <-chan struct{}) {
	s.post.mu.Lock()
	defer s.post.mu.Unlock()
	var letters []Letter
	for _, p := range s.post.requests {
		if p.reply == nil {
			letters = append(letters, Letter{Request: p.request, Revision: p.revision})
		}
	}
	return letters, maps.Clone(s.post.orphans), s.post.changed
}

// Ask puts a request to the leader, unless the same one is there already, and waits for the reply until ctx ends. A reply that is
// still in the store answers at once, without a call to etcd.
func (s *Store) Ask(ctx context.Context, req token.Request) (token.Reply, error) {
	key := s.keys.request(req)
	if found, ok, _ := s.post.lookup(key); ok && found.valid(s.clock.Now()) {
		return *found.reply, nil
	}
	req.From, req.At = s.replica, s.clock.Wall()
	data, err := json.Marshal(storedRequest{Schema: schema, Request: encodeRequest(req)})
	if err != nil {
		return token.Reply{}, err
	}
	var (
		revision int64        // of the request as it is in the store
		reply    *token.Reply // if it is in the store already
	)
	err = s.persist(ctx, "asking the leader", func(ctx context.Context) error {
		lease, err := s.client.Grant(ctx, requestLife)
		if err != nil {
			return err
		}
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, string(data), clientv3.WithLease(lease.ID))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil {
			return err
		}
		revision = resp.Header.Revision
		if !resp.Succeeded {
			kv := resp.Responses[0].GetResponseRange().Kvs[0]
			revision, reply = kv.CreateRevision, s.readRequest(kv, false).posted.reply
			_, _ = s.client.Revoke(ctx, lease.ID) // economy only: it would expire by itself
		}
		return nil
	})
	if err != nil {
		return token.Reply{}, err
	}
	if reply != nil { // the feed may have seen it come and go meanwhile, and would wait for another
		return *reply, nil
	}
	return s.await(ctx, key, revision)
}

// await waits until the request that was put at revision has its reply.
func (s *Store) await(ctx context.Context, key string, revision int64) (token.Reply, error) {
	for {
		found, ok, changed := s.post.lookup(key)
		if ok && found.revision >= revision && found.reply != nil {
			return *found.reply, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return token.Reply{}, ctx.Err()
		}
	}
}

// Answer puts the reply in the place of the request. It stays as long as it may answer others who ask the same.
func (s *Store) Answer(ctx context.Context, req token.Request, reply token.Reply) error {
	key := s.keys.request(req)
	data, err := json.Marshal(storedRequest{Schema: schema, Request: encodeRequest(req), Reply: encodeReply(reply)})
	if err != nil {
		return err
	}
	life := int64(replyLife(reply) / time.Second)
	return s.persist(ctx, "answering a request", func(ctx context.Context) error {
		return s.putLeased(ctx, key, data, life)
	})
}

func readOrphanEvent(rest string, revision int64) orphanEvent {
	name, _, _ := strings.Cut(rest, "/")
	return orphanEvent{name: name, revision: revision}
}

// readRequest decodes a request. One that cannot be read is as good as gone: its sender gets no answer, and it expires.
func (s *Store) readRequest(kv *mvccpb.KeyValue, deleted bool) requestEvent {
	ev := requestEvent{key: string(kv.Key), gone: deleted}
	if deleted {
		return ev
	}
	var in storedRequest
	if err := json.Unmarshal(kv.Value, &in); err != nil || in.Schema != schema {
		s.log.Error("a request cannot be read; ignoring it", "key", ev.key)
		ev.gone = true
		return ev
	}
	ev.posted = posted{revision: kv.ModRevision, seen: s.clock.Now(), request: decodeRequest(in.Request), reply: decodeReply(in.Reply)}
	return ev
}

type storedRequest struct {
	Schema  int          `json:"schema"`
	Request askedRequest `json:"request"`
	Reply   *storedReply `json:"reply,omitempty"`
}

type askedRequest struct {
	Kind    token.RequestKind `json:"kind"`
	Name    string            `json:"name,omitempty"`
	Version int64             `json:"version"`
	Force   bool              `json:"force,omitempty"`
	From    string            `json:"from"`
	At      time.Time         `json:"at"`
}

type storedReply struct {
	Verdict          token.Verdict  `json:"verdict"`
	RetryAfterMillis int64          `json:"retry_after_ms,omitempty"`
	Reason           string         `json:"reason,omitempty"`
	Failure          *storedFailure `json:"failure,omitempty"`
}

func encodeRequest(r token.Request) askedRequest { return askedRequest(r) }

func decodeRequest(r askedRequest) token.Request { return token.Request(r) }

func encodeReply(r token.Reply) *storedReply {
	return &storedReply{Verdict: r.Verdict, RetryAfterMillis: r.RetryAfter.Milliseconds(), Reason: r.Reason, Failure: encodeFailure(r.Failure)}
}

func decodeReply(r *storedReply) *token.Reply {
	if r == nil {
		return nil
	}
	return &token.Reply{
		Verdict: r.Verdict, RetryAfter: duration(r.RetryAfterMillis), Reason: r.Reason, Failure: decodeFailure(r.Failure),
	}
}
