package refresh

import "github.com/tokenbroker/tokenbroker/internal/token"

// takeFloor hears that a replica serves a value under a version that the store does not have: it fetched alone while it was cut off, or
// the store lost its data. The reply says only that the record knows it; the fetch that ends this follows by schedule.
func (g *termRun) takeFloor(call token.Call) error {
	if call.Version >= g.rec.Version && call.Version > g.rec.Floor {
		if err := g.goAbove(call.Version); err != nil {
			return err
		}
	}
	call.Reply(token.Reply{Verdict: token.VerdictDone})
	return nil
}

// goAbove brings every replica to one value, under a version above one that a replica serves by itself. The record's own value is as
// good as that one: what the replica serves takes nothing from it. If it is healthy, and not near its end, it gets the version; else the
// next commit does, for which a fetch is due (see Due), at once or when the quiet wait is over.
func (g *termRun) goAbove(version int64) error {
	g.log.Info("a replica serves a version that the store does not have; going above it", "version", g.rec.Version, "served", version)
	next := g.rec
	healthy := g.rec.Clean() && !g.rec.Condemned && !g.rec.Value.IsZero() && g.rec.Source == g.traits.Source
	if healthy && g.left() > g.policy.Ahead {
		next.Version, next.Floor = version+1, 0
	} else {
		next.Floor = version
	}
	return g.put(next)
}
