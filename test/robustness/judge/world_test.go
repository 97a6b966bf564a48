package judge_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

const (
	classic = "classic"
	stable  = "stable"
	tick    = 100 * time.Millisecond
	life    = 60 * time.Second
	overlap = 10 * time.Second
	session = 2 * time.Second
	// A world lives for so long, and is left in peace at its end.
	lifetime = 160 * time.Second
	peace    = 45 * time.Second
)

// world is a tiny cluster which follows the protocol, with the WeChat that it asks, and writes the history of that. Things happen at
// ticks, one after another.
type world struct {
	lifetime time.Duration
	rng      *rand.Rand
	now      time.Duration
	revision int64
	c        judge.Case
	tokens   []*kept
	brokers  []*broker
	queue    []history.Candidate // the election
	minted   int
	gone     map[string]time.Duration // when the last process of a broker ended
}

// kept is one token.
type kept struct {
	judge.Token
	rec     *history.Stored
	log     []stood // every record that stood in etcd
	attempt *attempt
	quiet   time.Duration // no attempt before
	ordered bool          // an operator wants a fetch, or with force a forced one
	force   bool
	// What WeChat holds: indexes in the case's Issued, -1 for none.
	current, previous int
}

// stood is a record from when it was written, and what may be promised of it.
type stood struct {
	at     time.Duration
	rec    history.Stored
	ends   time.Duration // the nominal end of the value, as replicas count it
	frozen time.Duration // while unsettled: the end of the promise
}

// attempt is a fetch under way.
type attempt struct {
	issue, settle time.Duration
	outcome       token.Outcome
	value         string
	began         time.Duration
}

// broker is one replica.
type broker struct {
	id    string
	lag   time.Duration // until it hears
	since time.Duration // when its process began to listen
	down  time.Duration // until when there is no process
	cut   time.Duration // until when it hears nothing
	deaf  time.Duration // since when, if it is cut
	told  map[string]history.Answer
	open  map[string]time.Duration // when its streams were opened
}

// newWorld runs a world to its end. Everything in it follows from the seed.
func newWorld(seed uint64, calm bool) judge.Case { return newLongWorld(seed, calm, lifetime) }

// newLongWorld is newWorld with another lifetime.
func newLongWorld(seed uint64, calm bool, lifetime time.Duration) judge.Case {
	w := &world{lifetime: lifetime, rng: rand.New(rand.NewPCG(seed, 1)), gone: map[string]time.Duration{}}
	w.c = judge.Case{SessionTTL: session, RecoverWithin: 30 * time.Second, Replicas: []string{"r1", "r2", "r3"}}
	for _, t := range []judge.Token{
		{Name: classic, Rotating: true, Life: life, Overlap: overlap, Timing: token.TimingFor(overlap), Ahead: 18 * time.Second, DailyBudget: 1_000_000},
		{Name: stable, Life: life, Overlap: overlap, Timing: token.TimingFor(overlap), Ahead: 9 * time.Second, DailyBudget: 1_000_000},
	} {
		w.c.Tokens = append(w.c.Tokens, t)
		w.tokens = append(w.tokens, &kept{Token: t, current: -1, previous: -1})
	}
	for _, id := range w.c.Replicas {
		b := &broker{id: id, lag: w.upTo(300 * time.Millisecond), since: time.Second, down: time.Second}
		b.reset()
		w.brokers = append(w.brokers, b)
		w.add(history.Event{Kind: history.Process, Replica: id, Code: history.ProcessStarted, Received: time.Second})
	}
	next := 10 * time.Second
	for w.now = time.Second; w.now < lifetime; w.now += tick {
		w.elect()
		if b := w.leader(); b != nil {
			for _, k := range w.tokens {
				w.keep(b, k)
			}
		}
		w.ask()
		if !calm && w.now >= next && w.now < lifetime-peace {
			w.strike()
			next = w.now + 8*time.Second + w.upTo(12*time.Second)
		}
		if w.now == lifetime-peace+20*time.Second {
			w.add(history.Event{Kind: history.Healed, Sent: w.now, Received: w.now})
		}
	}
	return w.c
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }
func (w *world) add(e history.Event)                { w.c.Events = append(w.c.Events, e) }

func (b *broker) reset() {
	b.told, b.open = map[string]history.Answer{}, map[string]time.Duration{}
}

// strike does something bad.
func (w *world) strike() {
	b, k := w.brokers[w.rng.IntN(len(w.brokers))], w.tokens[w.rng.IntN(len(w.tokens))]
	length := session + w.upTo(8*time.Second)
	switch n := w.rng.IntN(5); {
	case b.down > w.now || b.cut > w.now: // one thing at a time
	case n == 0:
		b.down, w.gone[b.id] = w.now+length, w.now
		w.add(history.Event{Kind: history.Fault, Replica: b.id, Code: history.EffectKilled, Sent: w.now, Received: b.down})
		w.add(history.Event{Kind: history.Process, Replica: b.id, Code: history.ProcessEnded, Sent: w.now, Received: w.now + tick})
		w.add(history.Event{Kind: history.Process, Replica: b.id, Code: history.ProcessStarted, Sent: b.down - tick, Received: b.down})
		b.since = b.down
		b.reset()
	case n == 1:
		b.deaf, b.cut = w.now, w.now+length
		w.add(history.Event{Kind: history.Fault, Replica: b.id, Code: history.EffectCut, Sent: w.now, Received: b.cut})
	case n == 2 && k.current >= 0:
		w.issue(k, !k.Rotating, true)
	case n == 3 && k.attempt == nil:
		k.ordered, k.force = true, !k.Rotating
		w.add(history.Event{Kind: history.Refresh, Replica: b.id, Token: k.Name, Sent: w.now - time.Millisecond, Received: w.now, Code: "OK"})
	}
}

// elect lets go of candidates that are away, and lets others stand.
func (w *world) elect() {
	before := slices.Clone(w.queue)
	w.queue = slices.DeleteFunc(w.queue, func(k history.Candidate) bool {
		b := w.broker(k.ID)
		return b.down > w.now && w.now >= w.gone[b.id]+session || b.cut > w.now && w.now >= b.deaf+session
	})
	for _, b := range w.brokers {
		if b.down <= w.now && b.cut <= w.now && !slices.ContainsFunc(w.queue, func(k history.Candidate) bool { return k.ID == b.id }) {
			w.revision++
			w.queue = append(w.queue, history.Candidate{Key: b.id, ID: b.id, Created: w.revision})
		}
	}
	if !slices.Equal(before, w.queue) {
		w.proclaim()
		return
	}
	if w.leader() == nil && len(w.queue) > 0 && w.well(w.broker(w.queue[0].ID)) {
		w.revision++
		w.queue[0].Proclaimed = true
		w.proclaim()
		for _, k := range w.tokens {
			k.attempt = nil
			if k.rec == nil || !k.Rotating {
				continue
			}
			if k.quiet = w.now + k.Timing.W; k.rec.Drained {
				k.quiet = w.now + k.Timing.Settled()
			}
		}
	}
}

func (w *world) proclaim() {
	w.add(history.Event{Kind: history.Election, Sent: w.now, Received: w.now, Candidates: slices.Clone(w.queue)})
}

func (w *world) broker(id string) *broker {
	return w.brokers[slices.IndexFunc(w.brokers, func(b *broker) bool { return b.id == id })]
}

func (w *world) well(b *broker) bool { return b.down <= w.now && b.cut <= w.now }

// leader returns who leads and can do something; nil if nobody.
func (w *world) leader() *broker {
	if len(w.queue) == 0 || !w.queue[0].Proclaimed || !w.well(w.broker(w.queue[0].ID)) {
		return nil
	}
	return w.broker(w.queue[0].ID)
}

func (w *world) id(prefix string) string { w.minted++; return fmt.Sprintf("%s-%d", prefix, w.minted) }
