package refresh_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// etcd is a stand-in for time travel: linearizable, with fences, revisions, a log to watch and an election. Its clients see it
// through links that delay, cut and lose.
type etcd struct {
	mu      sync.Mutex
	rev     int64
	head    int64
	entries map[string]*simEntry
	orphans map[string]map[string]token.Orphan
	log     []simChange
	owner   *incarnation // whose election key exists
	term    int64        // its create revision
	changed chan struct{}

	// mechanisms that a test takes out, to show that it would notice
	noFence, noCompare bool

	versions  map[string]map[int64]string // every value committed, by name and version
	begins    map[string][]time.Time
	terms     int
	conflicts []string // S2 violations, and what got lost
}

// ofNewer stands in every record, as if a program newer than this one had made it.
var ofNewer = token.NewSecret(`{"newer":true}`)

type simEntry struct {
	rec   token.Record
	rev   int64
	write string
}

type simChange struct {
	rev    int64
	name   string // empty: not a record
	record token.Record
	orphan string // the token's name, if an orphan was put
}

func newEtcd() *etcd {
	return &etcd{
		rev: 1, entries: map[string]*simEntry{}, orphans: map[string]map[string]token.Orphan{}, changed: make(chan struct{}),
		versions: map[string]map[int64]string{}, begins: map[string][]time.Time{},
	}
}

// bump starts a new revision and wakes the watchers. The caller holds mu.
func (e *etcd) bump() {
	e.rev++
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *etcd) watch() (int64, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rev, e.changed
}

// campaign gives the election key to inc if it is free.
func (e *etcd) campaign(inc *incarnation) (int64, bool, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owner != nil {
		return 0, false, e.changed
	}
	e.bump()
	e.owner, e.term = inc, e.rev
	e.terms++
	return e.term, true, nil
}

// depose deletes the election key if inc holds it.
func (e *etcd) depose(inc *incarnation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owner == inc {
		e.owner = nil
		e.bump()
	}
}

// empty loses every record, as a restore of an old backup does.
func (e *etcd) empty() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.entries)
	clear(e.orphans)
	e.head = 0
	e.bump()
}

// backup returns a way to restore the records as they are now. Revisions go on from where they are, as they do for those who make them
// jump in the restore.
func (e *etcd) backup() (restore func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	head, saved := e.head, map[string]simEntry{}
	for name, entry := range e.entries {
		saved[name] = *entry
	}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		clear(e.entries)
		clear(e.orphans)
		for name, entry := range saved {
			e.entries[name] = &entry
		}
		e.head = head
		e.bump()
	}
}

// orphanCount returns how many orphans were ever written.
func (e *etcd) orphanCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, ch := range e.log {
		if ch.orphan != "" {
			n++
		}
	}
	return n
}

func (e *etcd) termCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.terms
}

func (e *etcd) leader() *incarnation {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.owner
}

// txn is one write of a record.
type txn struct {
	name    string
	inc     *incarnation
	term    int64
	rev     int64
	rec     token.Record
	id      string
	orphans []string
}

// apply does a transaction if its comparisons hold.
func (e *etcd) apply(t txn) (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.entries[t.name]
	if entry == nil {
		entry = &simEntry{}
		e.entries[t.name] = entry
	}
	if entry.write == t.id {
		return entry.rev, nil
	}
	if !e.noFence && (e.owner != t.inc || e.term != t.term) {
		return 0, token.ErrDeposed
	}
	if !e.noCompare && entry.rev != t.rev {
		return 0, token.ErrConflict
	}
	e.check(t.name, entry.rec, t.rec)
	e.bump()
	*entry = simEntry{rec: t.rec, rev: e.rev, write: t.id}
	e.head = e.rev
	for _, attempt := range t.orphans {
		delete(e.orphans[t.name], attempt)
	}
	e.log = append(e.log, simChange{rev: e.rev, name: t.name, record: t.rec})
	return e.rev, nil
}

// check watches S2: one value a version, versions grow.
func (e *etcd) check(name string, old, rec token.Record) {
	if rec.Pending != nil && (old.Pending == nil || old.Pending.Attempt != rec.Pending.Attempt) {
		e.begins[name] = append(e.begins[name], time.Now())
	}
	if rec.Unknown != ofNewer {
		e.conflicts = append(e.conflicts, name+": what a newer program keeps in the record was lost")
	}
	if rec.Value.IsZero() {
		return
	}
	if e.versions[name] == nil {
		e.versions[name] = map[int64]string{}
	}
	if had, ok := e.versions[name][rec.Version]; ok && had != rec.Value.Reveal() {
		e.conflicts = append(e.conflicts, fmt.Sprintf("%s: two values of version %d were committed", name, rec.Version))
	}
	if rec.Version < old.Version {
		e.conflicts = append(e.conflicts, fmt.Sprintf("%s: version %d was committed after %d", name, rec.Version, old.Version))
	}
	e.versions[name][rec.Version] = rec.Value.Reveal()
}

// takeConflicts returns the violations so far, and forgets them.
func (e *etcd) takeConflicts() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := e.conflicts
	e.conflicts = nil
	return taken
}

func (e *etcd) putOrphan(name string, o token.Orphan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.orphans[name] == nil {
		e.orphans[name] = map[string]token.Orphan{}
	}
	e.bump()
	e.orphans[name][o.Attempt] = o
	e.log = append(e.log, simChange{rev: e.rev, orphan: name})
}

func (e *etcd) read(name string) token.Entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.entries[name]
	if entry == nil {
		entry = &simEntry{rec: token.Record{Unknown: ofNewer}, rev: e.rev}
		e.entries[name] = entry
	}
	out := token.Entry{Record: entry.rec, Revision: entry.rev}
	for _, attempt := range slices.Sorted(maps.Keys(e.orphans[name])) {
		out.Orphans = append(out.Orphans, e.orphans[name][attempt])
	}
	return out
}

func (e *etcd) readHead() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.head
}

// readAll is a linearizable read of everything.
func (e *etcd) readAll() (rev, head int64, changes []view.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, entry := range e.entries {
		changes = append(changes, view.Change{Name: name, Record: entry.rec})
	}
	return e.rev, e.head, changes
}

// since returns what happened after a revision.
func (e *etcd) since(rev int64) []simChange {
	e.mu.Lock()
	defer e.mu.Unlock()
	i, _ := slices.BinarySearchFunc(e.log, rev+1, func(c simChange, rev int64) int { return int(c.rev - rev) })
	return slices.Clone(e.log[i:])
}

// link is one client's connection to etcd.
type link struct {
	mu     sync.Mutex
	cut    bool
	healed chan struct{}
	slow   time.Duration // added to every passage
}

func newLink() *link { return &link{healed: make(chan struct{})} }

func (l *link) set(cut bool, slow time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = slow
	if l.cut && !cut {
		close(l.healed)
		l.healed = make(chan struct{})
	}
	l.cut = cut
}

func (l *link) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// pass carries a message: it waits while the link is cut, and then for the latency.
func (l *link) pass(ctx context.Context, rng *rand.Rand) error {
	for {
		l.mu.Lock()
		cut, healed, slow := l.cut, l.healed, l.slow
		l.mu.Unlock()
		if !cut {
			return nap(ctx, between(rng, time.Millisecond, 20*time.Millisecond)+slow)
		}
		select {
		case <-healed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ledger is a refresh.Ledger through a link that may lose answers and deliver requests late.
type ledger struct {
	inc     *incarnation
	name    string
	term    int64
	rng     *rand.Rand
	pending string // the attempt that was last begun
}

// step tells which line of the protocol a write of the record is.
func (l *ledger) step(rec token.Record) step {
	switch {
	case rec.Pending != nil && rec.Pending.Attempt != l.pending:
		l.pending = rec.Pending.Attempt
		return stepBegin
	case rec.Pending != nil:
		return stepNote
	case rec.Resolved.Outcome == token.OutcomeNone:
		return stepAbort
	default:
		return stepCommit
	}
}

func (l *ledger) Read(ctx context.Context) (token.Entry, error) {
	if err := l.inc.pass(ctx, l.rng); err != nil {
		return token.Entry{}, err
	}
	entry := l.inc.cluster.etcd.read(l.name)
	return entry, l.inc.pass(ctx, l.rng)
}

func (l *ledger) Write(ctx context.Context, rev int64, rec token.Record, orphans ...string) (int64, error) {
	t := txn{name: l.name, inc: l.inc, term: l.term, rev: rev, rec: rec, id: l.inc.nextID("w"), orphans: orphans}
	step := l.step(rec)
	for {
		if err := l.inc.die(step, before); err != nil {
			return 0, err
		}
		if err := l.inc.pass(ctx, l.rng); err != nil {
			l.ghost(t)
			return 0, err
		}
		if l.inc.cluster.chance(l.rng, l.inc.cluster.fault().lostTxn) {
			l.ghost(t)
			if err := nap(ctx, 3*time.Second); err != nil {
				return 0, err
			}
			continue
		}
		rev, err := l.inc.cluster.etcd.apply(t)
		if died := l.inc.die(step, after); died != nil {
			return 0, died
		}
		if lost := l.inc.pass(ctx, l.rng); lost != nil {
			return 0, lost
		}
		return rev, err
	}
}

// ghost lets a transaction that its sender gave up arrive late, or never.
func (l *ledger) ghost(t txn) {
	if l.rng.IntN(2) == 0 {
		return
	}
	delay := between(l.rng, 0, time.Minute)
	l.inc.cluster.wg.Go(func() {
		time.Sleep(delay)
		_, _ = l.inc.cluster.etcd.apply(t)
	})
}

func (l *ledger) Leave(ctx context.Context, o token.Orphan) error {
	if err := l.inc.die(stepOrphan, before); err != nil {
		return err
	}
	if err := l.inc.pass(ctx, l.rng); err != nil {
		return err
	}
	l.inc.cluster.etcd.putOrphan(l.name, o)
	return l.inc.pass(ctx, l.rng)
}

// nap sleeps in the bubble's time unless ctx ends first.
func nap(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)+1))
}
