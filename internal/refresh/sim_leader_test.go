package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

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
