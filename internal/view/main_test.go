package view_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	overlap = 5 * time.Minute
	w       = 4 * time.Minute // what TimingFor makes of it
	life    = 2 * time.Hour
)

// classic is a token of a rotating upstream, stable one of an idempotent upstream.
func classic(name string) view.Spec {
	return view.Spec{
		Name: name, Timing: token.TimingFor(overlap),
		Traits: token.Traits{Kind: "classic", Rotating: true, Overlap: overlap, MaxLife: life},
	}
}

func stable(name string) view.Spec {
	return view.Spec{Name: name, Timing: token.TimingFor(overlap), Traits: token.Traits{Kind: "stable", MaxLife: life, Force: true}}
}

// replica is a view and the store as this replica has seen it: it gives out revisions and head revisions.
type replica struct {
	*view.View

	t        *testing.T
	clock    *clock.Clock
	revision int64
	head     int64
}

// newReplica returns a replica that is configured and has loaded nothing.
func newReplica(t *testing.T, c *clock.Clock, specs ...view.Spec) *replica {
	t.Helper()
	v := view.New(view.Config{Clock: c})
	if err := v.Configure(specs); err != nil {
		t.Fatal(err)
	}
	return &replica{View: v, t: t, clock: c, revision: 100, head: 100}
}

// see lets the watch tell of the next revision, which changed one record.
func (r *replica) see(name string, rec token.Record) {
	r.tell(view.Change{Name: name, Record: rec})
}

func (r *replica) tell(change view.Change) {
	r.t.Helper()
	r.revision++
	r.head = r.revision
	if !r.Apply(r.revision, r.head, []view.Change{change}) {
		r.t.Fatal("what the watch told was ignored")
	}
}

// load reads the whole keyspace at the next revision.
func (r *replica) load(records map[string]token.Record) {
	r.t.Helper()
	r.revision++
	r.head = r.revision
	var changes []view.Change
	for name, rec := range records {
		changes = append(changes, view.Change{Name: name, Record: rec})
	}
	if !r.Load(r.Revision(), r.revision, r.head, changes) {
		r.t.Fatal("the load was ignored")
	}
}

// sync proves the view current as of now.
func (r *replica) sync() {
	r.t.Helper()
	r.syncSince(r.clock.Read())
}

// syncSince proves the view current by a read that was sent earlier.
func (r *replica) syncSince(sent clock.Reading) {
	r.t.Helper()
	if !r.Synced(sent, r.head) {
		r.t.Fatal("the proof was refused")
	}
}

// must checks the state and the promised life of a token.
func (r *replica) must(name string, state view.State, ttl time.Duration) {
	r.t.Helper()
	if got := r.Token(name).Read(); got.State != state || got.TTL != ttl {
		r.t.Errorf("%s is %v for %v (nominal %v), want %v for %v", name, got.State, got.TTL, got.Nominal, state, ttl)
	}
}

// mustEnd checks what is left of a token's nominal life.
func (r *replica) mustEnd(name string, nominal time.Duration) {
	r.t.Helper()
	if got := r.Token(name).Read(); got.Nominal != nominal {
		r.t.Errorf("%s ends in %v, want %v", name, got.Nominal, nominal)
	}
}

// The transitions of a record, as the leader writes them.

// issued is a healthy record of a version whose request was written at the given wall time.
func issued(version int64, at time.Time) token.Record {
	return token.Record{
		Version: version, Value: value(version), IssuedAt: at, Life: life,
		Resolved: token.Resolution{Attempt: fmt.Sprint("attempt of ", version), Outcome: token.OutcomeToken},
	}
}

func value(version int64) token.Secret { return token.NewSecret(fmt.Sprint("value ", version)) }

func begun(rec token.Record, attempt string) token.Record {
	if !rec.Clean() {
		rec.Doubt, rec.Drained = true, true
	}
	rec.Pending = &token.Intent{Attempt: attempt, Term: 1}
	return rec
}

func forced(rec token.Record, attempt string) token.Record {
	rec = begun(rec, attempt)
	rec.Pending.Forced = true
	return rec
}

// committed is the record after the pending attempt brought a token whose request was written at the given wall time.
func committed(rec token.Record, at time.Time) token.Record {
	rec.Resolved = token.Resolution{Attempt: rec.Pending.Attempt, Outcome: token.OutcomeToken}
	rec.Version++
	rec.Value, rec.IssuedAt, rec.Life = value(rec.Version), at, life
	rec.Pending, rec.Doubt, rec.Drained, rec.Condemned = nil, false, false, false
	return rec
}

func aborted(rec token.Record) token.Record {
	rec.Resolved = token.Resolution{Attempt: rec.Pending.Attempt, Outcome: token.OutcomeNone}
	rec.Pending = nil
	return rec
}

// clocks are a monotonic and a wall clock that a test moves by hand.
type clocks struct {
	mu   sync.Mutex
	mono time.Duration
	wall time.Time
}

func newClocks() *clocks {
	return &clocks{wall: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
}

func (c *clocks) read() (time.Duration, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono, c.wall
}

// move moves the monotonic clock and the wall clock, each by its own amount.
func (c *clocks) move(mono, wall time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mono += mono
	c.wall = c.wall.Add(wall)
}

// pass lets time pass on both.
func (c *clocks) pass(d time.Duration) { c.move(d, d) }
