package refresh

import (
	"context"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// takeReseal writes the record as it stands in the store, so that the store seals its value anew. Nothing follows from that: neither what is
// pending nor what is in doubt, no wait and no back-off changes, and no replica sees another value or version. What the leader remembers may
// be lost, or not have been written: what counts is the record.
func (g *termRun) takeReseal(ctx context.Context, call token.Call) error {
	if err := g.resync(ctx); err != nil {
		return err
	}
	if !g.rec.Value.IsZero() {
		if err := g.put(g.rec); err != nil {
			return err
		}
		g.log.Info("wrote the record as it is, to have its value sealed anew", "version", g.rec.Version, "from", call.From)
	}
	call.Reply(token.Reply{Verdict: token.VerdictDone})
	return nil
}
