package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
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

// kill ends a replica's life between two instructions. etcd drops its session a TTL later.
func (c *cluster) kill(replica int) {
	c.mu.Lock()
	inc := c.running[replica]
	c.mu.Unlock()
	if inc != nil {
		inc.dies()
	}
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

// alive returns the replica's present life, or nil.
func (c *cluster) alive(replica int) *incarnation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if inc := c.running[replica]; inc != nil && inc.ctx.Err() == nil {
		return inc
	}
	return nil
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

// elect stands for election, again and again, and leads.
func (inc *incarnation) elect() {
	rng := inc.cluster.rng(inc.name, "elect")
	for inc.ctx.Err() == nil {
		if inc.pass(inc.ctx, rng) != nil {
			return
		}
		term, won, changed := inc.cluster.etcd.campaign(inc)
		if !won {
			select {
			case <-changed:
			case <-inc.ctx.Done():
			}
			// Who queues first is drawn by lot.
			_ = nap(inc.ctx, between(rng, 0, 100*time.Millisecond))
			continue
		}
		if inc.lead(term) {
			// Handed over: queue behind the others.
			_ = nap(inc.ctx, time.Second)
		}
	}
}

// lead runs a Refresher for each token until the term is lost, and reports whether the lead was given up.
func (inc *incarnation) lead(term int64) bool {
	c := inc.cluster
	ctx, end := context.WithCancelCause(inc.ctx)
	defer end(nil)
	var guards sync.WaitGroup
	guards.Go(func() { // notices the loss of the election key, sooner or later
		for {
			_, changed := c.etcd.watch()
			if c.etcd.leader() != inc {
				_ = nap(ctx, time.Duration(inc.zombie.Swap(0)))
				end(errors.New("deposed"))
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-inc.resign:
				end(errResign)
				return
			}
		}
	})
	var workers sync.WaitGroup
	for _, spec := range c.specs {
		workers.Go(func() {
			err := inc.refresh(ctx, spec, term)
			if errors.Is(err, refresh.ErrHandOver) || errors.Is(err, token.ErrDeposed) {
				end(err)
			} else if err != nil && inc.ctx.Err() == nil {
				c.t.Errorf("%s: refreshing %s ended: %v", inc.name, spec.name, err)
			}
		})
	}
	workers.Wait()
	end(nil)
	guards.Wait()
	if inc.ctx.Err() == nil {
		c.etcd.depose(inc)
	}
	return errors.Is(context.Cause(ctx), refresh.ErrHandOver) || errors.Is(context.Cause(ctx), errResign)
}

var errResign = errors.New("resigned")

// refresh runs one Refresher for the term.
func (inc *incarnation) refresh(ctx context.Context, spec simSpec, term int64) error {
	c := inc.cluster
	r := inc.refresher(spec, term)
	orphans := make(chan struct{}, 1)
	ctx2, cancel := context.WithCancel(ctx)
	var post sync.WaitGroup
	post.Go(func() { inc.deliver(ctx2, spec.name, orphans) })
	var err error
	for reloaded := true; reloaded && err == nil; {
		reloaded = false
		running, stop := context.WithCancel(ctx)
		var reload sync.WaitGroup
		reload.Go(func() {
			select {
			case <-inc.reload:
				reloaded = true
				stop()
			case <-running.Done():
			}
		})
		err = r.Run(running, inc.ctx, term, &ledger{inc: inc, name: spec.name, term: term, rng: c.rng(inc.name, spec.name, term, "ledger")},
			refresh.Inbox{Orphans: orphans, Calls: inc.calls[spec.name]})
		stop()
		reload.Wait()
		next := inc.refresher(spec, term)
		next.Follow(r)
		r = next
	}
	cancel()
	post.Wait()
	return err
}

// refresher makes a Refresher for a purpose.
func (inc *incarnation) refresher(spec simSpec, purpose any) *refresh.Refresher {
	c := inc.cluster
	jitter := c.rng(inc.name, spec.name, purpose, "jitter")
	r, err := refresh.New(refresh.Config{
		Name: spec.name, Upstream: &client{inc: inc, name: spec.name, rng: c.rng(inc.name, spec.name, purpose, "fetch")},
		Policy: spec.policy, Timing: spec.timing, Clock: inc.clock, Logger: c.log.With("replica", inc.name),
		Lives: inc.view.Token(spec.name), Replica: fmt.Sprintf("r%d", inc.replica), Peers: func() int { return len(c.running) - 1 }, Rest: &inc.rest,
		Metrics:    c.metrics,
		NewAttempt: func() string { return inc.nextID("a") }, Jitter: jitter.Float64,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// goAlone looks after the replica while it is cut off.
func (inc *incarnation) goAlone(spec simSpec) {
	_ = inc.refresher(spec, "alone").RunAlone(inc.ctx, simOwn{inc, spec.name})
}

// simOwn is one token in the view of an incarnation. What counts as in sync there counts as just proved, since proofs are rarer in some
// simulations.
type simOwn struct {
	inc  *incarnation
	name string
}

func (o simOwn) Age() (time.Duration, bool) {
	if o.inc.view.InSync() {
		return 0, true
	}
	return o.inc.view.Age()
}

func (o simOwn) Held() (token.Record, time.Duration) {
	r := o.inc.view.Token(o.name).Read()
	return *r.Record, r.Nominal
}

func (o simOwn) ServeLocal(source string, value token.Secret, wrote clock.Reading, life time.Duration) (int64, bool) {
	o.inc.cluster.lone.Add(1)
	return o.inc.view.Token(o.name).ServeLocal(source, value, wrote, life)
}

// correct tells the leader of versions that the store does not know of, as package store does.
func (inc *incarnation) correct() {
	every := max(5*time.Second, inc.cluster.sync)
	for nap(inc.ctx, every) == nil {
		if !inc.view.InSync() {
			continue
		}
		for name, version := range inc.view.Ahead() {
			inc.tell(token.Request{Kind: token.RequestReport, Name: name, Version: version}, every)
		}
		for name, version := range inc.view.Doubted() {
			inc.tell(token.Request{Kind: token.RequestDoubt, Name: name, Version: version}, every)
		}
		for name, version := range inc.view.Unmerged() {
			inc.tell(token.Request{Kind: token.RequestFloor, Name: name, Version: version}, every)
		}
	}
}

// tell puts a request to the present leader, if it takes it in time. Nobody waits for the answer.
func (inc *incarnation) tell(req token.Request, within time.Duration) {
	lead := inc.cluster.etcd.leader()
	if lead == nil {
		return
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case lead.calls[req.Name] <- token.Call{Request: req, Reply: func(token.Reply) {}}:
	case <-timer.C:
	case <-inc.ctx.Done():
	}
}

// deliver signals orphans.
func (inc *incarnation) deliver(ctx context.Context, name string, orphans chan<- struct{}) {
	seen, _ := inc.cluster.etcd.watch() // what is older, the refresher reads by itself
	for {
		_, changed := inc.cluster.etcd.watch()
		for _, ch := range inc.cluster.etcd.since(seen) {
			seen = ch.rev
			if ch.orphan == name {
				select {
				case orphans <- struct{}{}:
				default:
				}
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
