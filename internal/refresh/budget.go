package refresh

import (
	"fmt"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// forced reports whether the next attempt asks the upstream to kill the current value: an operator ordered it, or the value is
// condemned and the upstream does not know of it.
func (g *termRun) forced() bool {
	if g.forceNext {
		// With no forced attempt left, an ordinary one brings a new token at the end of the dead one's nominal life.
		wait, _ := g.forcedAllowance(g.cfg.Clock.Wall())
		return wait == 0 || g.left() >= g.policy.Ahead
	}
	for _, c := range g.calls {
		if c.Force {
			return true
		}
	}
	return false
}

// spend counts one more attempt. If it is not allowed now, it returns how long to wait and why.
func (g *termRun) spend(wall time.Time, forced bool) (token.Record, time.Duration, string) {
	next := g.rec
	next.Spent = next.Spent.On(wall, g.traits.Calendar)
	allowed := g.policy.DailyBudget
	if !g.policy.urgent(g.rec, g.left()) {
		allowed -= g.policy.Reserve
	}
	if next.Spent.Fetches >= allowed {
		reason := fmt.Sprintf("%d of today's %d fetches are spent", next.Spent.Fetches, g.policy.DailyBudget)
		wait := token.DayEnds(wall, g.traits.Calendar).Sub(wall)
		if allowed < g.policy.DailyBudget {
			reason += fmt.Sprintf("; the last %d are kept for a token that is missing or near its end", g.policy.Reserve)
			wait = min(wait, max(g.left()-g.policy.Ahead/2, time.Second))
		}
		return g.rec, wait, reason
	}
	next.Spent.Fetches++
	if forced {
		if wait, reason := g.forcedAllowance(wall); wait > 0 {
			return g.rec, wait, reason
		}
		next.Spent.Forced++
		next.Spent.ForcedAt = wall
	}
	return next, 0, ""
}

// forcedAllowance returns how long a forced attempt has to wait, and why; 0 if it may begin.
func (g *termRun) forcedAllowance(wall time.Time) (time.Duration, string) {
	spent := g.rec.Spent.On(wall, g.traits.Calendar)
	if spent.Forced >= g.traits.ForcedPerDay {
		return token.DayEnds(wall, g.traits.Calendar).Sub(wall), fmt.Sprintf("the upstream allows %d forced refreshes a day, and they are spent", g.traits.ForcedPerDay)
	}
	// A ForcedAt in the future was written by a leader whose clock is ahead: wait the whole spacing, but not longer.
	since := wall.Sub(spent.ForcedAt)
	if wait := min(g.traits.ForcedSpacing-since, g.traits.ForcedSpacing); wait > 0 && !spent.ForcedAt.IsZero() {
		return wait, fmt.Sprintf("the upstream ignores forced refreshes less than %v apart", g.traits.ForcedSpacing)
	}
	return 0, ""
}
