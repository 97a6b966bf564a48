package refresh_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// fetchFaults says how often a fetch goes wrong, and how.
type fetchFaults struct {
	refused float64 // a listed refusal
	lost    float64 // processed, but the answer is lost
	vanish  float64 // written, never processed
	slow    float64 // processed within D, perhaps after the leader gave up
	paused  float64 // the process is paused between its last look at the clock and the write, for at most P
}

// upstream is what the replicas fetch from. The simulated WeChat behind it issues tokens and is the judge of all promises.
type upstream struct {
	judge    *judge
	slowest  atomic.Int64 // if set, how long a slow request takes
	dialling atomic.Int64 // added to the time that dialling takes
	renamed  atomic.Value // a string that is part of every source

	mu       sync.Mutex
	down     bool                                          // cannot be dialled
	downFor  map[int]bool                                  // by replica
	refusing *token.Failure                                // refuses everything
	lastOK   time.Time                                     // since when it is able to serve
	refuses  func(name string, replica int) *token.Failure // if set, refuses some
	buried   string                                        // a value that the probe calls dead, and a fetch does not know of
	counts   map[string]*outcomes
	tries    map[string][]try
	probes   map[string][]time.Time          // when it was asked whether a token lives
	probing  func(ctx context.Context) error // if set, comes before the answer to that; an error takes its place
}

// try is one request that was written, and whether the upstream was made to fail it.
type try struct {
	at     time.Time
	failed bool
}

// commitTime is how long a request that succeeds takes at most to be answered and committed, over a slow etcd.
const commitTime = 10 * time.Second

// outcomes counts what attempts came to, for the bound on their number.
type outcomes struct{ lost, refused, unwritten, issued int }

func newUpstream(j *judge) *upstream {
	u := &upstream{
		judge: j, downFor: map[int]bool{}, lastOK: time.Now(), counts: map[string]*outcomes{}, tries: map[string][]try{},
		probes: map[string][]time.Time{},
	}
	u.renamed.Store("")
	return u
}

// regime sets how the upstream behaves from now on.
func (u *upstream) regime(down bool, refusing *token.Failure) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if able := !down && refusing == nil; able && (u.down || u.refusing != nil) {
		u.lastOK = time.Now()
	}
	u.down, u.refusing = down, refusing
}

// source names the application behind a token; rename changes it, as a new configuration does.
func (u *upstream) source(name string) string { return name + u.renamed.Load().(string) }

// refusedFrom reports whether the upstream failed every request that was written since a moment, and how many those were. One that
// succeeds and is not committed yet does not count.
func (u *upstream) refusedFrom(name string, since time.Time) (bool, int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, t := range u.tries[name] {
		if t.at.Before(since) || !t.failed && time.Since(t.at) < commitTime {
			continue
		}
		if n++; !t.failed {
			return false, n
		}
	}
	return true, n
}

// refuse makes the upstream refuse what a function picks.
func (u *upstream) refuse(pick func(name string, replica int) *token.Failure) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refuses = pick
}

// bury makes the probe call the value dead.
func (u *upstream) bury(value token.Secret) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.buried = value.Reveal()
}

// probe sets what comes before the answer to a probe.
func (u *upstream) probe(first func(ctx context.Context) error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.probing = first
}

// probed returns when it was asked whether a token lives.
func (u *upstream) probed(name string) []time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.probes[name])
}

// lastTries describes the last n requests.
func (u *upstream) lastTries(name string, n int) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []string
	for _, t := range u.tries[name][max(0, len(u.tries[name])-n):] {
		out = append(out, fmt.Sprintf("%s failed=%v", t.at.Format(time.TimeOnly), t.failed))
	}
	return out
}

// block makes the upstream unreachable from one replica.
func (u *upstream) block(replica int, blocked bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.downFor[replica] = blocked
}

// ableSince returns since when the upstream has been able; false if it is not.
func (u *upstream) ableSince() (time.Time, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.lastOK, !u.down && u.refusing == nil
}

func (u *upstream) count(name string, add func(*outcomes)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.counts[name] == nil {
		u.counts[name] = &outcomes{}
	}
	add(u.counts[name])
}

func (u *upstream) traits(name string) token.Traits {
	t := token.Traits{
		Kind: "simulated", Source: u.source(name), Overlap: u.judge.overlap, MaxLife: u.judge.life, FetchesPerDay: 2000, Calendar: shanghai,
	}
	if u.judge.rotates(name) {
		t.Rotating, t.Ahead = true, max(t.MaxLife/4, token.TimingFor(t.Overlap).LeastAhead())
		return t
	}
	t.Ahead = t.Overlap * 95 / 100
	t.Force, t.ForcedPerDay, t.ForcedSpacing = true, 20, 30*time.Second
	return t
}

var shanghai = time.FixedZone("Asia/Shanghai", 8*60*60)

// client is the upstream as one replica's Refresher uses it.
type client struct {
	inc  *incarnation
	name string
	rng  *rand.Rand
}

func (c *client) Traits() token.Traits { return c.inc.cluster.up.traits(c.name) }

func (c *client) Probe(ctx context.Context, value token.Secret) (token.Health, error) {
	u := c.inc.cluster.up
	u.mu.Lock()
	u.probes[c.name] = append(u.probes[c.name], time.Now())
	buried, probing := u.buried, u.probing
	u.mu.Unlock()
	if probing != nil {
		if err := probing(ctx); err != nil {
			return "", err
		}
	}
	if err := nap(ctx, between(c.rng, 10*time.Millisecond, 200*time.Millisecond)); err != nil {
		return "", err
	}
	if value.Reveal() != buried && u.judge.aliveAt(value.Reveal(), time.Now()) {
		return token.Alive, nil
	}
	return token.Dead, nil
}

// Fetch dials, asks to write, writes, and waits, with whatever goes wrong in between.
func (c *client) Fetch(ctx context.Context, req token.FetchRequest) (token.Grant, error) {
	u, f, timing := c.inc.cluster.up, c.inc.cluster.fault().fetch, token.TimingFor(c.inc.cluster.up.judge.overlap)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.inc.ctx, cancel)()

	if err := nap(ctx, between(c.rng, 10*time.Millisecond, 200*time.Millisecond)+time.Duration(u.dialling.Load())); err != nil {
		return c.unwritten("dial", token.Unreachable)
	}
	u.mu.Lock()
	down, refusing := u.down || u.downFor[c.inc.replica], u.refusing
	if u.refuses != nil {
		refusing = cmp.Or(u.refuses(c.name, c.inc.replica), refusing)
	}
	u.mu.Unlock()
	if down {
		return c.unwritten("dial", token.Unreachable)
	}
	if err := c.inc.die(stepWrite, before); err != nil {
		return c.unwritten("died", token.Transient)
	}
	if err := req.BeforeWrite(); err != nil {
		return c.unwritten("not_written", token.Transient)
	}
	if c.inc.cluster.chance(c.rng, f.paused) {
		time.Sleep(between(c.rng, 0, timing.P))
	}
	if err := c.inc.die(stepPause, before); err != nil { // between the look at the clock and the write
		u.count(c.name, func(o *outcomes) { o.lost++ })
		return token.Grant{}, unknown("died")
	}
	answer := c.send(req.Force, refusing, ctx.Err() != nil)
	req.AfterWrite()
	if err := c.inc.die(stepWrite, after); err != nil {
		return token.Grant{}, unknown("died")
	}
	select {
	case a := <-answer:
		if err := c.inc.die(stepAnswer, after); err != nil {
			return token.Grant{}, unknown("died")
		}
		return a.grant, a.err()
	case <-ctx.Done():
		u.count(c.name, func(o *outcomes) { o.lost++ })
		return token.Grant{}, unknown("timeout")
	}
}

type simAnswer struct {
	grant   token.Grant
	failure *token.Failure
}

func (a simAnswer) err() error {
	if a.failure != nil {
		return a.failure
	}
	return nil
}

// send puts the request on the wire. It is processed within D, or never; the answer may be lost. overslept says that a pause has used up
// the time in which an answer would have been awaited.
func (c *client) send(force bool, refusing *token.Failure, overslept bool) <-chan simAnswer {
	cl, f := c.inc.cluster, c.inc.cluster.fault().fetch
	answer := make(chan simAnswer, 1)
	delay := between(c.rng, 10*time.Millisecond, 300*time.Millisecond)
	if cl.chance(c.rng, f.slow) {
		delay = between(c.rng, 0, token.TimingFor(cl.up.judge.overlap).D-time.Millisecond)
		if slowest := cl.up.slowest.Load(); slowest > 0 {
			delay = time.Duration(slowest)
		}
	}
	vanish, lost := cl.chance(c.rng, f.vanish), cl.chance(c.rng, f.lost)
	refused := refusing
	if refused == nil && cl.chance(c.rng, f.refused) {
		refused = &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.MinuteQuota, Code: "45011", RetryAfter: time.Minute}
	}
	cl.up.mu.Lock()
	cl.up.tries[c.name] = append(cl.up.tries[c.name], try{at: time.Now(), failed: refused != nil || vanish || lost || overslept || delay > 10*time.Second})
	cl.up.mu.Unlock()
	if vanish {
		return answer
	}
	cl.wg.Go(func() {
		time.Sleep(delay)
		a := simAnswer{failure: refused}
		if refused != nil {
			cl.up.count(c.name, func(o *outcomes) { o.refused++ })
		} else {
			value, life := cl.up.judge.issue(c.name, force)
			a.grant = token.Grant{Value: token.NewSecret(value), Life: life}
			cl.up.count(c.name, func(o *outcomes) { o.issued++ })
		}
		if !lost {
			answer <- a
		}
	})
	return answer
}

func (c *client) unwritten(code string, class token.Class) (token.Grant, error) {
	c.inc.cluster.up.count(c.name, func(o *outcomes) { o.unwritten++ })
	return token.Grant{}, &token.Failure{Outcome: token.OutcomeNone, Class: class, Code: code, Meaning: "not written"}
}

func unknown(code string) *token.Failure {
	return &token.Failure{Outcome: token.OutcomeUnknown, Class: token.Transient, Written: true, Code: code, Meaning: "no answer"}
}

// step is a line of the protocol at which a replica can die or be paused.
type step string

const (
	stepBegin  step = "BEGIN"
	stepPause  step = "the pause before the write"
	stepWrite  step = "the write"
	stepAnswer step = "the answer"
	stepCommit step = "COMMIT"
	stepAbort  step = "ABORT"
	stepNote   step = "another write"
	stepOrphan step = "the orphan"
)

// moment is before or after a step.
type moment bool

const (
	before moment = false
	after  moment = true
)

// crashPoint is what happens, once, to the replica that comes to a step.
type crashPoint struct {
	step   step
	moment moment
	do     func(*incarnation) // runs in the replica's own goroutine, between two lines
}

// at arranges for what happens at a step.
func (c *cluster) at(step step, moment moment, do func(*incarnation)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crash = &crashPoint{step: step, moment: moment, do: do}
}

// die does what was arranged for this step, and returns an error if the replica is dead.
func (inc *incarnation) die(step step, moment moment) error {
	c := inc.cluster
	c.mu.Lock()
	point := c.crash
	if point != nil && point.step == step && point.moment == moment {
		c.crash = nil
	} else {
		point = nil
	}
	c.mu.Unlock()
	if point != nil {
		point.do(inc)
	}
	return inc.ctx.Err()
}
