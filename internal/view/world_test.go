package view_test

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// world is the reference that replicas are judged by: a rotating upstream, a store with one record, and the leaders between them, in
// true time and one event after the other. Leaders keep the waits of the protocol to the letter, and within its assumptions everything
// else does its worst: leaders are deposed and do not know it, pause, and die; requests are processed late, or never; answers are lost.
type world struct {
	*rapid.T // of the present step

	now    time.Duration // true time
	timing token.Timing

	history []revision // history[i] is the store at revision i+1
	term    int64
	orphans map[string]token.Orphan

	issued  []*issuance // issued[k-1] is the k-th token
	wire    []*leader   // whose requests the upstream has not processed yet
	leaders []*leader   // the last one leads; the others may not have learned yet that they do not

	attempts int
	values   map[int64]token.Secret // that were committed, by version
}

// revision is the whole store at one revision, and what that revision changed.
type revision struct {
	rec     token.Record
	head    int64
	changed bool
}

// issuance is a token's true life.
type issuance struct {
	value    token.Secret
	life     time.Duration // as the upstream states it
	dead     time.Duration // when it dies, as far as is decided
	promised time.Duration // until when somebody was promised that it lives
}

// phase is where a leader is in its attempt.
type phase int

const (
	idle phase = iota
	announcing
	announced
	confirmed
	looked
	written
	resolved
)

type leader struct {
	term  int64
	wall  time.Duration // its wall clock minus true time
	phase phase
	quiet time.Duration // it begins nothing before

	attempt string
	sent    time.Duration // the BEGIN
	look    time.Duration // its last look at the clock before the write
	wrote   time.Duration
	grant   *issuance // what a resolved attempt brought; nil for nothing
}

func newWorld() *world {
	return &world{
		timing:  token.TimingFor(overlap),
		history: []revision{{}},
		orphans: map[string]token.Orphan{},
		values:  map[int64]token.Secret{},
	}
}

// epoch is the wall time at true time 0.
func epoch() time.Time { return time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC) }

// store returns the store as it is.
func (w *world) store() revision { return w.history[len(w.history)-1] }

// put writes the record.
func (w *world) put(rec token.Record) {
	w.history = append(w.history, revision{rec: rec, head: int64(len(w.history) + 1), changed: true})
}

// putOther writes a key that is no token.
func (w *world) putOther() {
	next := w.store()
	next.changed = false
	w.history = append(w.history, next)
}

// elect deposes the leader.
func (w *world) elect() {
	w.term++
	next := &leader{term: w.term, wall: anyWall(w.T)}
	if rec := w.store().rec; rec.Issued() {
		next.quiet = w.now + w.wait(rec)
	}
	w.leaders = append(w.leaders, next)
}

// wait is the quiet wait.
func (w *world) wait(rec token.Record) time.Duration {
	if rec.Drained {
		return w.timing.Settled()
	}
	return w.timing.W
}

func (w *world) remove(l *leader) {
	w.leaders = slices.DeleteFunc(slices.Clone(w.leaders), func(other *leader) bool { return other == l })
}

// advance lets a leader take its next step.
func (w *world) advance(l *leader) {
	rec, leads := w.store().rec, l.term == w.term
	switch l.phase {
	case idle:
		switch {
		case !leads:
			w.remove(l)
		case len(w.orphans) > 0:
			w.heed(l)
		case w.now >= l.quiet:
			w.attempts++
			l.attempt, l.sent, l.phase = fmt.Sprint("a", w.attempts), w.now, announcing
		}
	case announcing:
		if !leads {
			w.remove(l)
			return
		}
		w.put(begun(rec, l.attempt))
		l.phase = announced
	case announced:
		l.quiet, l.phase = w.now+w.wait(rec), confirmed
	case confirmed:
		l.grant = nil
		if w.now-l.sent >= w.timing.G || pick(w.T, "dial", true, false, false, false, false, false, false) {
			l.phase = resolved
			return
		}
		l.look, l.phase = w.now, looked
	case looked:
		if w.now-l.look > w.timing.P { // beyond the assumptions: let it not happen
			l.phase = resolved
			return
		}
		l.wrote, l.phase = w.now, written
		w.wire = append(w.wire, l)
	case written: // no answer
		if w.now-l.wrote < w.timing.F && !pick(w.T, "hang up", true, false, false, false) {
			return
		}
		l.phase = idle
		if !leads {
			w.remove(l)
			return
		}
		rec.Failures++ // noted for people
		w.put(rec)
	case resolved:
		w.settle(l, rec, leads)
	}
}

// settle writes the outcome of an attempt, or leaves it to whoever leads now.
func (w *world) settle(l *leader, rec token.Record, leads bool) {
	o := token.Orphan{Attempt: l.attempt, Outcome: token.OutcomeNone}
	if l.grant != nil {
		o = token.Orphan{
			Attempt: l.attempt, Outcome: token.OutcomeToken, Value: l.grant.value, Life: l.grant.life,
			IssuedAt: epoch().Add(l.look + l.wall),
		}
	}
	if !leads {
		w.orphans[o.Attempt] = o
		w.remove(l)
		return
	}
	w.resolve(l, rec, o)
	l.phase = idle
}

// resolve commits or aborts the pending attempt.
func (w *world) resolve(l *leader, rec token.Record, o token.Orphan) {
	if o.Outcome == token.OutcomeNone {
		w.put(aborted(rec))
		l.quiet = 0
		return
	}
	next := committed(rec, o.IssuedAt)
	next.Value, next.Life = o.Value, o.Life
	w.values[next.Version] = next.Value
	w.put(next)
}

// heed acts on an orphan.
func (w *world) heed(l *leader) {
	rec := w.store().rec
	for attempt, o := range w.orphans {
		if rec.Pending != nil && rec.Pending.Attempt == attempt {
			w.resolve(l, rec, o)
			rec = w.store().rec
		}
	}
	clear(w.orphans)
}

// process lets the upstream take one request from the wire.
func (w *world) process(l *leader, outcome string) {
	w.wire = slices.DeleteFunc(slices.Clone(w.wire), func(other *leader) bool { return other == l })
	inTime := w.now-l.wrote <= w.timing.F && l.phase == written
	switch outcome {
	case "lost":
	case "refused":
		if inTime {
			l.grant, l.phase = nil, resolved
		}
	default:
		grant := w.issue()
		if inTime && outcome == "answered" {
			l.grant, l.phase = grant, resolved
		}
	}
}

// issue rotates: the previous token lives the overlap longer, the one before dies now.
func (w *world) issue() *issuance {
	next := &issuance{
		value: token.NewSecret(fmt.Sprint("token ", len(w.issued)+1)),
		life:  pick(w.T, "life", life, 10*time.Minute, 6*time.Minute),
	}
	next.dead = w.now + next.life
	w.issued = append(w.issued, next)
	for back, lives := range []time.Duration{overlap, 0} {
		if k := len(w.issued) - 2 - back; k >= 0 {
			w.kill(w.issued[k], w.now+lives)
		}
	}
	return next
}

func (w *world) kill(i *issuance, at time.Duration) {
	i.dead = min(i.dead, at)
	if i.promised > i.dead {
		w.Fatalf("%v dies at %v, but was promised until %v", i.value.Reveal(), i.dead, i.promised)
	}
}

// promised records what a replica promises.
func (w *world) promised(value token.Secret, ttl time.Duration) {
	for _, i := range w.issued {
		if i.value == value {
			i.promised = max(i.promised, w.now+ttl)
			w.kill(i, i.dead)
			return
		}
	}
	w.Fatalf("a value is promised that was never issued")
}

// tick lets time pass. Requests that the upstream has not processed in time never will be.
func (w *world) tick(d time.Duration) {
	w.now += d
	for _, l := range w.wire {
		if w.now-l.wrote > w.timing.D {
			w.process(l, "lost")
		}
	}
}
