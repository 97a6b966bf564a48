package refresh_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// incarnation is one life of a replica, from start to crash.
type incarnation struct {
	cluster *cluster
	replica int
	life    int
	name    string
	link    *link
	clock   *clock.Clock
	view    *view.View
	ctx     context.Context // ends with the life
	kill    context.CancelFunc
	ids     atomic.Int64
	resign  chan struct{}              // a signal to give up the lead
	calls   map[string]chan token.Call // requests to the leader, by token
	rest    refresh.Rest
	head    atomic.Int64  // of the store, as far as this replica knows
	reload  chan struct{} // a signal to run one refresher anew, as a changed configuration does
	zombie  atomic.Int64  // how long the next loss of the lead goes unnoticed
}

// start brings a replica up.
func (c *cluster) start(replica int) *incarnation {
	c.mu.Lock()
	life := 1
	if old := c.running[replica]; old != nil {
		life = old.life + 1
	}
	skew := c.skew[replica]
	ctx, kill := context.WithCancel(c.ctx)
	birth := time.Now()
	inc := &incarnation{
		cluster: c, replica: replica, life: life, name: fmt.Sprintf("r%d.%d", replica, life), link: newLink(), ctx: ctx, kill: kill,
		clock: clock.FromSource(func() (time.Duration, time.Time) {
			now := time.Now()
			return now.Sub(birth), now.Add(skew).Round(0)
		}),
		resign: make(chan struct{}, 1),
		reload: make(chan struct{}),
		calls:  map[string]chan token.Call{},
	}
	inc.view = view.New(view.Config{Clock: inc.clock, SyncWindow: max(10*time.Second, 3*c.sync)})
	specs := make([]view.Spec, len(c.specs))
	for i, s := range c.specs {
		specs[i] = view.Spec{Name: s.name, Traits: c.up.traits(s.name), Timing: s.timing}
		inc.calls[s.name] = make(chan token.Call)
	}
	if err := inc.view.Configure(specs); err != nil {
		c.t.Fatal(err)
	}
	c.running[replica] = inc
	if c.dark {
		inc.link.set(true, 0)
	}
	c.mu.Unlock()
	c.wg.Go(inc.watch)
	c.wg.Go(inc.syncForever)
	c.wg.Go(inc.elect)
	c.wg.Go(inc.correct)
	for _, spec := range c.specs {
		c.wg.Go(func() { inc.goAlone(spec) })
	}
	return inc
}

func (inc *incarnation) dies() {
	if inc.ctx.Err() != nil {
		return
	}
	inc.kill()
	inc.cluster.wg.Go(func() {
		time.Sleep(ttl)
		inc.cluster.etcd.depose(inc)
	})
}

// cut separates a replica from etcd. After a TTL it has lost its session, on both sides.
func (inc *incarnation) cut() {
	inc.link.set(true, 0)
	inc.cluster.wg.Go(func() {
		if nap(inc.ctx, ttl) == nil && inc.link.isCut() {
			inc.cluster.etcd.depose(inc)
		}
	})
}

// pass carries a message between the replica and etcd; a dead replica neither sends nor hears.
func (inc *incarnation) pass(ctx context.Context, rng *rand.Rand) error {
	if err := inc.ctx.Err(); err != nil {
		return err
	}
	if ctx != inc.ctx {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(inc.ctx, cancel)()
	}
	return inc.link.pass(ctx, rng)
}

func (inc *incarnation) nextID(kind string) string {
	return fmt.Sprintf("%s-%s-%d", inc.name, kind, inc.ids.Add(1))
}

// watch feeds the view from the log, with a lag.
func (inc *incarnation) watch() {
	rng := inc.cluster.rng(inc.name, "watch")
	cursor := inc.load(rng)
	for inc.ctx.Err() == nil {
		rev, changed := inc.cluster.etcd.watch()
		if rev > cursor {
			if inc.pass(inc.ctx, rng) != nil || nap(inc.ctx, between(rng, 0, inc.cluster.fault().watch)) != nil {
				return
			}
			for _, ch := range inc.cluster.etcd.since(cursor) {
				if ch.name != "" && ch.rev <= rev {
					if inc.view.Apply(ch.rev, ch.rev, []view.Change{{Name: ch.name, Record: ch.record}}) {
						inc.head.Store(ch.rev)
					}
				}
			}
			cursor = rev
			continue
		}
		select {
		case <-changed:
		case <-inc.ctx.Done():
		}
	}
}

// load reads everything, applies it, and takes it as a proof. It returns the revision that it found.
func (inc *incarnation) load(rng *rand.Rand) int64 {
	known, floor, sent := inc.head.Load(), inc.view.Revision(), inc.clock.Read()
	if inc.pass(inc.ctx, rng) != nil {
		return 0
	}
	rev, head, changes := inc.cluster.etcd.readAll()
	if inc.pass(inc.ctx, rng) != nil {
		return 0
	}
	switch {
	case head < known:
		inc.view.Rewind(rev, head, changes)
	case !inc.view.Load(floor, rev, head, changes):
		return rev
	}
	inc.head.Store(head)
	inc.synced(sent, head)
	return rev
}

func (inc *incarnation) synced(sent clock.Reading, head int64) bool {
	if inc.cluster.mutate.syncAtReceive {
		sent = inc.clock.Read()
	}
	return inc.view.Synced(sent, head)
}

// syncForever proves the view's freshness as package store does.
func (inc *incarnation) syncForever() {
	rng := inc.cluster.rng(inc.name, "sync")
	for nap(inc.ctx, inc.cluster.sync) == nil {
		if inc.view.Revision() == 0 {
			continue
		}
		known, sent := inc.head.Load(), inc.clock.Read()
		if inc.pass(inc.ctx, rng) != nil {
			return
		}
		head := inc.cluster.etcd.readHead()
		if inc.pass(inc.ctx, rng) != nil {
			return
		}
		if head < known || !inc.synced(sent, head) {
			inc.load(rng)
		}
	}
}
