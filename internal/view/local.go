package view

import (
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
	unmerged := map[string]int64{}
	for name, t := range *v.tokens.Load() {
		if s := t.cur.Load(); s.unmerged {
			unmerged[name] = s.record.Version
		}
	}
	return unmerged
}

// ServeLocal makes the replica serve a value that it fetched alone, with a request that was written at wrote, until the store has a
// higher version; and returns the version under which it does. If the value is the one that it serves already, only its life is
// counted anew. It refuses, and returns false, what a rotating upstream or another one than the configured issued, a value that is
// known to be dead, and a fetch that the clock jumped across.
//
// A local version is the last one, plus the microseconds since that was issued; where there was none, the microseconds since 1970. So
// it is higher than every version that this replica ever served; two replicas that are cut off do not call different values by one
// version, unless they fetched in the same microsecond of their clocks; and it grows with time from replica to replica, as far as
// their clocks agree.
func (t *Token) ServeLocal(value token.Secret, wrote clock.Reading, life time.Duration) (int64, bool) {
	v := t.view
	v.mu.Lock()
	defer v.mu.Unlock()
	old := t.cur.Load()
	held := old.record
	same := !held.Value.IsZero() && held.Value == value
	if t.spec.Traits.Rotating || v.clock.Read().Era != wrote.Era || same && held.Condemned {
		return 0, false
	}
	next, rec := *old, *held
	rec.Source, rec.Value, rec.IssuedAt, rec.Life, rec.Condemned = t.spec.Traits.Source, value, wrote.Wall, life, false
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
	if held.Version == 0 {
		since = time.Unix(0, 0)
	}
	return held.Version + max(1, wall.Sub(since).Microseconds())
}

// forcedSince reports whether a forced attempt, which this replica did not hear of, may have killed the value that it holds. One that was
// surely over before that fetch has not, as far as the replicas' wall clocks agree.
func (t *Token) forcedSince(local, rec token.Record) bool {
	forced := rec.Spent.ForcedAt
	if forced.Equal(local.Spent.ForcedAt) {
		return false
	}
	return !forced.Add(t.spec.Timing.Settled() + t.view.skew).Before(local.IssuedAt)
}
