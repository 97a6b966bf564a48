package view

import (
	"sync/atomic"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// State says what can be promised of a token.
type State int

// The states of a token.
const (
	// Expired: no token, or past its nominal end, or condemned.
	Expired State = iota
	// Suspect: before its nominal end, but nothing can be promised.
	Suspect
	// Active: the upstream accepts it for at least the TTL.
	Active
)

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case Active:
		return "active"
	case Suspect:
		return "suspect"
	default:
		return "expired"
	}
}

// Token is one configured token.
type Token struct {
	view *View
	spec Spec
	cur  atomic.Pointer[snapshot]
}

// snapshot is never changed after it is published.
type snapshot struct {
	record     *token.Record
	known      bool          // the store's record has been seen at least once
	seen       int64         // the highest version that was ever seen in the store
	lost       bool          // the store's record is older than that, and was refused; or does not know that the value is dead
	doubted    bool          // the store went back since it told of this version
	untold     bool          // and its record does not say so
	local      bool          // the value was fetched by this replica alone, and the version is of its own making
	unmerged   bool          // the store's record does not account for the version
	heard      clock.Instant // when the store last told of a higher version, or of a forced attempt
	unsettled  clock.Instant // when what it told last was unsettled
	nominalEnd clock.Instant // meaningful while record has a value
	since      *proof        // from which it was counted; nil if from the wall clock
	life       time.Duration // that was counted from there

	frozen    bool          // an attempt may have ended the value's life
	frozenEnd clock.Instant // end of the promise while frozen

	attempt string // the last attempt that was seen begun
	anchor  *proof // t_sync before it was seen; nil if the replica was not in sync

	changed chan struct{} // closed when the snapshot is replaced
}

// Reading is what may be said of a token at one moment.
type Reading struct {
	// State sums up the rest.
	State State
	// TTL is the life that is promised from now on; positive exactly when State is Active.
	TTL time.Duration
	// Nominal is what is left until the nominal end, whatever can be promised; not positive when past or when there is no token.
	Nominal time.Duration
	// Expires is the nominal end on this replica's wall clock; zero when there is no token.
	Expires time.Time
	// InSync: the view was proved current within the sync window, so a commit would be seen.
	InSync bool
	// Local: the value was fetched by this replica alone, while it was cut off.
	Local bool
	// Record is the record behind this, never nil. It must not be changed.
	Record *token.Record
}

// Name returns the token's name.
func (t *Token) Name() string { return t.spec.Name }

// Traits returns the facts about the token's upstream.
func (t *Token) Traits() token.Traits { return t.spec.Traits }

// LongestPromise is more than any promise that can ever be made.
func (t *Token) LongestPromise() time.Duration {
	if t.spec.Traits.Rotating {
		return t.spec.Timing.W
	}
	return t.spec.Traits.MaxLife
}

// Changed returns a channel that is closed when the record changes, when promises that had lapsed are renewed, or when the token is
// taken out of the configuration. Take it before Read, so that no change falls in between.
func (t *Token) Changed() <-chan struct{} { return t.cur.Load().changed }

// Removed reports whether the token was taken out of the configuration.
func (t *Token) Removed() bool { return t.view.Token(t.spec.Name) != t }

// Read says what may be promised now.
func (t *Token) Read() Reading {
	now := t.view.clock.Read()
	p := t.view.proof.Load() // before the record: see the package documentation
	s := t.cur.Load()
	r := Reading{Record: s.record, InSync: t.view.inSync(p, now), Local: s.local}
	if s.record.Value.IsZero() {
		return r
	}
	r.Nominal = s.nominalEnd.Sub(now.At)
	r.Expires = now.Wall.Add(r.Nominal)
	if r.Nominal <= 0 || s.record.Condemned {
		return r
	}
	r.State = Suspect
	if ttl := s.promise(t, p, now) - now.At; ttl > 0 {
		r.State, r.TTL = Active, time.Duration(ttl)
	}
	return r
}

// promise returns the instant until which the token is promised.
func (s *snapshot) promise(t *Token, p *proof, now clock.Reading) clock.Instant {
	end := s.nominalEnd
	if t.rotates(*s.record) {
		if p == nil || p.era != now.Era {
			return 0
		}
		end = min(end, p.at.Add(t.spec.Timing.W))
	}
	if s.frozen {
		end = min(end, s.frozenEnd)
	}
	return end
}

// NominalEnd returns when the given version ends at the latest; false if the view holds another version.
func (t *Token) NominalEnd(version int64) (clock.Instant, bool) {
	s := t.cur.Load()
	return s.nominalEnd, s.record.Version == version && !s.local && !s.record.Value.IsZero()
}

// Version returns the highest version that this replica has seen in the store.
func (t *Token) Version() int64 { return t.cur.Load().seen }
