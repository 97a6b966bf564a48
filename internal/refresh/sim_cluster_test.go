package refresh_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// faults says how often what goes wrong. The zero value is a perfect world.
type faults struct {
	lostTxn float64 // a transaction's answer is lost, and it may arrive late
	watch   time.Duration
	fetch   fetchFaults
}

// cluster is some replicas, an etcd and an upstream, in one bubble of time.
type cluster struct {
	t       *testing.T
	seed    uint64
	etcd    *etcd
	up      *upstream
	broken  faults // guarded by mu
	mutate  mutation
	metrics *refresh.Metrics // may be nil
	specs   []simSpec
	sync    time.Duration // between two proofs
	log     *slog.Logger
	wg      sync.WaitGroup
	ctx     context.Context
	stop    context.CancelFunc
	skew    []time.Duration // wall clock error of each replica
	mu      sync.Mutex
	running []*incarnation // by replica; nil while down
	crash   *crashPoint
	dark    bool               // etcd is away from everybody
	callers map[string]*caller // by incarnation and token
	values  map[string]string  // by token and version, as callers saw them
	lone    atomic.Int64       // fetches that replicas made alone
}

// mutation takes mechanisms out of the replicas, so that tests can show that they would notice.
type mutation struct {
	syncAtReceive bool // t_sync is the time of the answer, not of the sending
}

// simSpec is one token that the cluster keeps.
type simSpec struct {
	name   string
	policy refresh.Policy
	timing token.Timing
}

// ttl is the session's: a replica that etcd does not hear for so long loses the election key.
const ttl = 5 * time.Second

func newCluster(t *testing.T, seed uint64, replicas int, up *upstream, specs ...simSpec) *cluster {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	return &cluster{
		t: t, seed: seed, etcd: newEtcd(), up: up, specs: specs, sync: time.Second, log: slog.New(slog.DiscardHandler),
		ctx: ctx, stop: stop, skew: make([]time.Duration, replicas), running: make([]*incarnation, replicas),
	}
}

// close ends all replicas as a crash would, and waits for every goroutine of the bubble.
func (c *cluster) close() {
	for i := range c.running {
		c.kill(i)
	}
	c.stop()
	c.wg.Wait()
	for _, conflict := range c.etcd.conflicts {
		c.t.Errorf("S2: %s", conflict)
	}
}

// rng returns a stream of random numbers of its own for each purpose, so that goroutines do not disturb each other's.
func (c *cluster) rng(purpose ...any) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, purpose...)
	return rand.New(rand.NewPCG(c.seed, h.Sum64()))
}

// fault returns what goes wrong at present.
func (c *cluster) fault() faults {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

func (c *cluster) setFaults(change func(*faults)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.broken)
}

func (c *cluster) chance(rng *rand.Rand, p float64) bool { return p > 0 && rng.Float64() < p }

// kill ends a replica's life between two instructions. etcd drops its session a TTL later.
func (c *cluster) kill(replica int) {
	c.mu.Lock()
	inc := c.running[replica]
	c.mu.Unlock()
	if inc != nil {
		inc.dies()
	}
}

// alive returns the replica's present life, or nil.
func (c *cluster) alive(replica int) *incarnation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if inc := c.running[replica]; inc != nil && inc.ctx.Err() == nil {
		return inc
	}
	return nil
}

// darken takes etcd away from everybody, those who start meanwhile included, or gives it back.
func (c *cluster) darken(dark bool) {
	c.mu.Lock()
	c.dark = dark
	c.mu.Unlock()
	for i := range c.running {
		if inc := c.alive(i); inc != nil && dark {
			inc.cut()
		} else if inc != nil {
			inc.link.set(false, 0)
		}
	}
}

// caller is somebody who asks one replica again and again.
type caller struct{ newest int64 }

// read is one answer to the caller of one replica, who checks S2: versions never go back, and one version has one value, wherever it is
// asked for.
func (c *cluster) read(inc *incarnation, name string) view.Reading {
	r := inc.view.Token(name).Read()
	if r.State == view.Expired {
		return r
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.callers == nil {
		c.callers, c.values = map[string]*caller{}, map[string]string{}
	}
	who, version := inc.name+" "+name, fmt.Sprint(name, " ", r.Record.Version)
	if c.callers[who] == nil {
		c.callers[who] = &caller{}
	}
	if newest := c.callers[who].newest; r.Record.Version < newest {
		c.t.Errorf("S2: %s went from version %d of %s back to %d", inc.name, newest, name, r.Record.Version)
	}
	c.callers[who].newest = r.Record.Version
	value := r.Record.Value.Reveal()
	if had, seen := c.values[version]; seen && had != value {
		c.t.Errorf("S2: version %s has two values", version)
	}
	c.values[version] = value
	return r
}
