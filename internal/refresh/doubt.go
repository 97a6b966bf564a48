package refresh

import "github.com/tokenbroker/tokenbroker/internal/token"

// takeDoubt hears that the store went back in time while a replica knew the current version. The reply says only that the record knows
// it; the fetch that ends the doubt follows when the quiet wait is over.
func (g *termRun) takeDoubt(call token.Call) error {
	if err := g.doubt(); err != nil {
		return err
	}
	call.Reply(token.Reply{Verdict: token.VerdictDone})
	return nil
}

// doubt records that the store may have lost what became of the current version: that it is dead, or an attempt that may have ended its
// life. The floor makes sure that what ends the doubt has a higher version, even if the upstream answers with the same value.
func (g *termRun) doubt() error {
	if g.rec.Doubt || g.rec.Version == 0 {
		return nil // what was in doubt already, by the record, nobody has been promised since
	}
	g.log.Warn("the store went back in time, and may have lost what became of the token: it is in doubt", "version", g.rec.Version)
	next := g.rec
	next.Doubt, next.Drained, next.Floor = true, false, max(next.Floor, next.Version)
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
