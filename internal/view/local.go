package view

import (
	"math/rand/v2"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Local returns the version under which this replica serves a value that it fetched alone; 0 if it does not.
func (t *Token) Local() int64 {
	if s := t.cur.Load(); s.local {
		return s.record.Version
	}
	return 0
}

// Unmerged returns the tokens that this replica serves under versions which the store does not account for: local ones, and those which
// a store that lost its data gave to another value. Until the leader hears of them, this replica refuses what it commits below them.
func (v *View) Unmerged() map[string]int64 {
	return v.versions(func(s *snapshot) (int64, bool) { return s.record.Version, s.unmerged })
}

// ServeLocal makes the replica serve a value that it fetched alone, with a request that was written at wrote, until the store has a
// higher version; and returns the version under which it does. If the value is the one that it serves already, only its life is
// counted anew. It refuses, and returns false, what a rotating upstream or another source than the configured one issued, a value that
// is known to be dead, a fetch that the clock jumped across, and one that the store overtook: it told of another value, or of a forced
// attempt, after the request was written.
//
// A local version is the last one, plus the microseconds since that was issued; where there was none, the microseconds since 1970. So
// it is higher than every version that this replica ever served; two replicas that are cut off do not call different values by one
// version, unless they fetched in the same microsecond of their clocks; and it grows with time from replica to replica, as far as
// their clocks agree. By clocks that disagree so little may have passed that the leader, who counts by one, could come upon the same
// version: it is at least the skew ahead, and a random part of that on top.
func (t *Token) ServeLocal(source string, value token.Secret, wrote clock.Reading, life time.Duration) (int64, bool) {
	v := t.view
	v.mu.Lock()
	defer v.mu.Unlock()
	old := t.cur.Load()
	held := old.record
	same := !held.Value.IsZero() && held.Value == value
	switch {
	case t.spec.Traits.Rotating, t.spec.Traits.Source != source, v.Token(t.spec.Name) != t:
		return 0, false
	case v.clock.Read().Era != wrote.Era, old.heard > 0 && wrote.At <= old.heard, same && held.Condemned:
		return 0, false
	}
	next, rec := *old, *held
	rec.Source, rec.Value, rec.IssuedAt, rec.Life, rec.Condemned = t.spec.Traits.Source, value, wrote.Wall, life, false
	if t.unsettled(*held) && wrote.At.Sub(old.unsettled) > t.spec.Timing.Settled() {
		rec.Pending, rec.Doubt, next.frozen, next.doubted = nil, false, false, false // what was under way then was over before this was asked for
	}
	if !same {
		rec.Version, next.local, next.unmerged = localVersion(*held, wrote.Wall), true, true
	}
	counted := &proof{at: wrote.At, era: wrote.Era, skipped: wrote.Skipped}
	next.since, next.life, next.nominalEnd = counted, life, wrote.At.Add(life)
	next.record = &rec
	t.replace(next)
	v.advance(v.revision, 0)
	return rec.Version, true
}

// localVersion numbers a value that was fetched at wall after the held one.
func localVersion(held token.Record, wall time.Time) int64 {
	since := held.IssuedAt
	if epoch := time.Unix(0, 0); since.Before(epoch) {
		since = epoch
	}
	least := DefaultSkew + rand.N(DefaultSkew)
	return held.Version + max(least, wall.Sub(since)).Microseconds()
}

// MayBeLocal reports whether a version of which this replica has not heard may be one that another replica made up after the given one.
func MayBeLocal(version, after int64) bool { return version-after >= DefaultSkew.Microseconds() }

// forcedSince reports whether a forced attempt, which this replica did not hear of, may have killed the value that it holds. One that was
// surely over before that fetch has not, as far as the replicas' wall clocks agree.
func (t *Token) forcedSince(local, rec token.Record) bool {
	forced := rec.Spent.ForcedAt
	if forced.Equal(local.Spent.ForcedAt) {
		return false
	}
	return !forced.Add(t.spec.Timing.Settled() + t.view.skew).Before(local.IssuedAt)
}
