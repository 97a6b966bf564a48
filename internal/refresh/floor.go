package refresh

import "github.com/tokenbroker/tokenbroker/internal/token"

// takeFloor hears that a replica, while it was cut off, fetched alone and served the value under a version of its own making. The reply
// says only that the record knows it; the fetch that ends the replica's going alone follows by schedule.
func (g *termRun) takeFloor(call token.Call) error {
	if call.Version >= g.rec.Version && call.Version > g.rec.Floor {
		if err := g.goAbove(call.Version); err != nil {
			return err
		}
	}
	call.Reply(token.Reply{Verdict: token.VerdictDone})
	return nil
}

// goAbove makes the next commit go above a version that was served alone. The value stays: it was not rotated away, since only
// idempotent upstreams are asked alone. A fetch is due at once (see Due), which brings every replica to the same value and version.
func (g *termRun) goAbove(version int64) error {
	g.log.Info("a replica fetched alone while it was cut off; the next version goes above its own", "version", g.rec.Version, "local", version)
	next := g.rec
	next.Floor = version
	return g.put(next)
}
