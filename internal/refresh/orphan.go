package refresh

import "github.com/tokenbroker/tokenbroker/internal/token"

// hear heeds the outcomes that deposed leaders left. Each is deleted in the transaction that acts on it, and only the orphan that was
// read is deleted: a commit that swept all orphans would lose one that was written a moment before.
func (g *termRun) hear(orphans []token.Orphan) error {
	for _, o := range orphans {
		if err := g.heed(o); err != nil {
			return err
		}
	}
	return nil
}

func (g *termRun) heed(o token.Orphan) error {
	open := g.rec.Pending != nil && g.rec.Pending.Attempt == o.Attempt
	if open && o.Outcome == token.OutcomeToken && g.isDead(*g.rec.Pending, o.Value) {
		o.Outcome = token.OutcomeNone // the value that is to be replaced: as good as nothing issued
	}
	next, log := g.rec, g.log.With("attempt", o.Attempt, "outcome", string(o.Outcome))
	switch {
	case o.Late:
		// Its request may have been processed after a later one's. Only a fresh token, fetched after everything is surely over,
		// ends the doubt.
		next.Doubt = true
		if err := g.put(next, o.Attempt); err != nil {
			return err
		}
		g.quiet = quietWait{from: g.cfg.Clock.Now(), wait: g.timing.W}
		log.Warn("an earlier leader's request was written late: the token is in doubt")
	case open && o.Outcome == token.OutcomeToken:
		now := g.cfg.Clock.Read()
		next = granted(next, o, g.rec.Pending.Source, "", now.Wall)
		if err := g.put(next, o.Attempt); err != nil {
			return err
		}
		g.succeeded(now.At.Add(o.IssuedAt.Add(o.Life).Sub(now.Wall)))
		g.answerDone(token.Reply{Verdict: token.VerdictDone})
		log.Info("adopted the token that an earlier leader fetched", "version", next.Version)
	case open && o.Outcome == token.OutcomeNone:
		next.Pending = nil
		next.Resolved = token.Resolution{Attempt: o.Attempt, Outcome: o.Outcome}
		if err := g.put(next, o.Attempt); err != nil {
			return err
		}
		g.quiet = quietWait{}
		log.Info("an earlier leader's fetch is known to have issued nothing")
	default:
		if err := g.put(next, o.Attempt); err != nil {
			return err
		}
		log.Info("dropped an outcome that no longer matters")
	}
	return nil
}
