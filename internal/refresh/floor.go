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

// goAbove makes the next commit go above a version that a replica serves. The record's own value stays: what the replica serves takes
// nothing from it. A fetch is due (see Due), at once or when the quiet wait is over, which brings every replica to the same value and
// version.
func (g *termRun) goAbove(version int64) error {
	g.log.Info("a replica serves a version that the store does not have; going above it", "version", g.rec.Version, "served", version)
	next := g.rec
	next.Floor = version
	return g.put(next)
}
