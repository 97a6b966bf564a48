package refresh

import (
	"context"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// takeDoubt hears that the store went back in time while a replica knew the current version. The reply says only that the record knows
// it, or has another version; the fetch that ends the doubt follows when the quiet wait is over. What the leader remembers may be lost,
// too: what counts is the record.
func (g *termRun) takeDoubt(ctx context.Context, call token.Call) error {
	if err := g.resync(ctx); err != nil {
		return err
	}
	if call.Version == g.rec.Version && !g.rec.Doubt { // what is in doubt already, by the record, nobody has been promised since
		if err := g.doubt(); err != nil {
			return err
		}
	}
	call.Reply(token.Reply{Verdict: token.VerdictDone})
	return nil
}

// doubt records that the store may have lost what became of the current version: that it is dead, or an attempt that may have ended its
// life. The floor makes sure that what ends the doubt has a higher version, even if the upstream answers with the same value. What is
// pending may be older than what was lost: its token, if somebody still has that, may be dead, and so its outcome is not waited for.
func (g *termRun) doubt() error {
	g.log.Warn("the store went back in time, and may have lost what became of the token: it is in doubt", "version", g.rec.Version)
	next := g.rec
	next.Pending, next.Doubt, next.Drained, next.Floor = nil, true, false, max(next.Floor, next.Version)
	if err := g.put(next); err != nil {
		return err
	}
	g.committed = false
	wait := g.timing.Settled()
	if g.traits.Rotating {
		wait = g.timing.W // some replica may have promised the token until now
	}
	g.unknown = g.cfg.Clock.Now().Add(wait)
	return nil
}
