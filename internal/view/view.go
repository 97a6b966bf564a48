package view

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Defaults of Config.
const (
	// DefaultSkew is the largest difference between two replicas' wall clocks that a late joiner allows for.
	DefaultSkew = 30 * time.Second
	// DefaultSyncWindow is how old a proof may be for the replica to count as in sync.
	DefaultSyncWindow = 10 * time.Second
)

// Config says how a View counts.
type Config struct {
	// Clock is required.
	Clock *clock.Clock
	// Skew is subtracted from lives that are counted from another replica's wall clock. Default DefaultSkew.
	Skew time.Duration
	// SyncWindow is how old the last proof may be for the replica to count as in sync. Default DefaultSyncWindow.
	SyncWindow time.Duration
}

// Spec is one token that the replica is configured to serve.
type Spec struct {
	Name   string
	Traits token.Traits
	// Timing is used for rotating upstreams only.
	Timing token.Timing
}

// View holds every configured token. Any number of goroutines may read; what changes it (Apply, Load, Rewind, Synced, Restore, Configure, and
// Token.ServeLocal) may be called from any goroutine too, and excludes each other.
type View struct {
	clock      *clock.Clock
	skew       time.Duration
	syncWindow time.Duration

	tokens atomic.Pointer[map[string]*Token] // never changed in place
	proof  atomic.Pointer[proof]             // nil until the first

	mu       sync.Mutex // serialises all changes
	revision int64      // revision of the store that has been applied
	head     int64      // mod revision of the head key that has been applied
	moved    chan struct{}
	locals   map[string]token.Record // local versions of tokens that a configuration replaced or took out
}

// proof says that the view was current at an instant.
type proof struct {
	at      clock.Instant
	era     uint64
	skipped time.Duration // the part of at that the monotonic clock did not count
}

// New returns a View without tokens; Configure adds them.
func New(cfg Config) *View {
	v := &View{clock: cfg.Clock, skew: cfg.Skew, syncWindow: cfg.SyncWindow, moved: make(chan struct{}), locals: map[string]token.Record{}}
	if v.skew == 0 {
		v.skew = DefaultSkew
	}
	if v.syncWindow == 0 {
		v.syncWindow = DefaultSyncWindow
	}
	v.tokens.Store(&map[string]*Token{})
	return v
}

// Configure replaces the set of tokens. A token that stays keeps what is known of it; one whose upstream changed its nature is
// taken as new, and keeps no more than the version that this replica made up, if it did. Waiters on a removed token are woken. The caller must have the store loaded anew afterwards, so that new tokens
// find their records.
func (v *View) Configure(specs []Spec) error {
	for _, spec := range specs {
		if err := token.ValidateName(spec.Name); err != nil {
			return fmt.Errorf("configuring token %q: %w", spec.Name, err)
		}
		if spec.Traits.Rotating {
			if err := spec.Timing.Check(spec.Traits.Overlap); err != nil {
				return fmt.Errorf("configuring token %q: %w", spec.Name, err)
			}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	old := *v.tokens.Load()
	next := make(map[string]*Token, len(specs))
	for _, spec := range specs {
		if held := old[spec.Name]; held != nil && held.spec.Traits == spec.Traits && held.spec.Timing == spec.Timing {
			next[spec.Name] = held
			continue
		}
		t := &Token{view: v, spec: spec}
		first := snapshot{record: &token.Record{}, changed: make(chan struct{})}
		if held := old[spec.Name]; held != nil && held.Local() > 0 {
			v.locals[spec.Name] = token.Record{Version: held.Local(), IssuedAt: held.cur.Load().record.IssuedAt}
		}
		if rec := v.locals[spec.Name]; rec.Version > 0 {
			first.record, first.local, first.unmerged = &rec, true, true // without the value, which is another account's, perhaps
		}
		t.cur.Store(&first)
		next[spec.Name] = t
	}
	v.tokens.Store(&next)
	for name, t := range old {
		if next[name] == nil && t.Local() > 0 {
			v.locals[name] = token.Record{Version: t.Local(), IssuedAt: t.cur.Load().record.IssuedAt}
		}
		if next[name] != t {
			close(t.cur.Load().changed)
		}
	}
	return nil
}

// Token returns the token of that name, or nil if none is configured.
func (v *View) Token(name string) *Token { return (*v.tokens.Load())[name] }

// Names returns the names of all configured tokens, sorted.
func (v *View) Names() []string { return slices.Sorted(maps.Keys(*v.tokens.Load())) }

// Ahead returns the tokens of which the store tells less than this replica has seen there, with the versions seen: its records are
// older, or it does not know that the version is dead. It was restored from a backup, or emptied; until the leader hears of those
// versions, this replica refuses what it commits.
func (v *View) Ahead() map[string]int64 {
	return v.versions(func(s *snapshot) (int64, bool) { return s.seen, s.lost })
}

// Doubted returns the tokens that this replica holds in doubt because the store went back in time, and of which the store's records do
// not say so, with their versions.
func (v *View) Doubted() map[string]int64 {
	return v.versions(func(s *snapshot) (int64, bool) { return s.record.Version, s.untold })
}

// versions returns those that pick picks.
func (v *View) versions(pick func(*snapshot) (int64, bool)) map[string]int64 {
	picked := map[string]int64{}
	for name, t := range *v.tokens.Load() {
		if version, ok := pick(t.cur.Load()); ok {
			picked[name] = version
		}
	}
	return picked
}

// Revision returns the revision of the store that the view has applied.
func (v *View) Revision() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.revision
}

// Filled reports whether there is anything to serve from: what is in the store was loaded, or a token was had otherwise.
func (v *View) Filled() bool {
	if v.Revision() > 0 {
		return true
	}
	for _, t := range *v.tokens.Load() {
		if t.Read().State != Expired {
			return true
		}
	}
	return false
}

// Age returns how long ago the view was last proved current; false if it never was, or the clock jumped since.
func (v *View) Age() (time.Duration, bool) {
	now, p := v.clock.Read(), v.proof.Load()
	if p == nil || p.era != now.Era {
		return 0, false
	}
	return max(now.At.Sub(p.at), 0), true // a proof may have come in since the look at the clock
}

// InSync reports whether the view was proved current within the sync window.
func (v *View) InSync() bool {
	return v.inSync(v.proof.Load(), v.clock.Read())
}
