package refresh

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// termRun is a Refresher's work during one term. One goroutine owns it.
type termRun struct {
	*Refresher
	term   int64
	ledger Ledger
	settle context.Context // outlives the term; see Run
	log    *slog.Logger

	rec  token.Record // the record, and
	rev  int64        // its revision, as last read or written
	ends clock.Instant

	begun     clock.Instant // when the last attempt's BEGIN was answered; the first read, if there was none in this term
	quiet     quietWait
	unknown   clock.Instant   // until when attempts may matter that the store has lost, and nobody knows of; no ABORT ends that
	elder     clock.Instant   // [rotating] until when the predecessor of the current value may be promised
	retryAt   clock.Instant   // back-off: no scheduled attempt before
	reported  clock.Instant   // when a report last condemned a value
	unwritten map[string]bool // attempts whose BEGIN has an unknown fate; their requests were never written
	committed bool            // the current value was committed in this term
	forceNext bool            // the upstream answered a normal fetch with the condemned value
	lost      int             // attempts in a row that did not reach the upstream
	calls     []token.Call    // to be answered by the next attempt
	probes    probes
}

// win reads the record for the first time in this term.
func (g *termRun) win(ctx context.Context) error {
	// gofail: var refreshBeforeFirstRead struct{}
	entry, err := g.ledger.Read(ctx)
	if err != nil {
		return err
	}
	read := g.cfg.Clock.Now()
	resumed := g.resume(entry.Revision)
	if err := g.adopt(entry); err != nil {
		return err
	}
	if !resumed {
		g.begun = read
		g.elder = g.elderAt(read)
		if g.rec.Issued() {
			g.beQuiet(read)
		}
	}
	if n := g.rec.Failures; n > 0 && !g.anothersPlace(g.rec.LastFailure) {
		// The back-off of the last leader goes on, as far as the wall clocks agree.
		wait := backOff(g.rec.LastFailure, n, g.left(), g.cfg.Jitter())
		passed := max(0, g.cfg.Clock.Wall().Sub(g.rec.LastFailure.At))
		g.retryAt = read.Add(max(0, wait-passed))
	}
	return g.hear(entry.Orphans)
}

// anothersPlace reports whether a failure says something about where another replica is, and nothing about this one.
func (g *termRun) anothersPlace(f token.Failure) bool {
	return localClass(f.Class) && f.Replica != g.cfg.Replica
}

// wallSkew is the largest difference between two replicas' wall clocks that is allowed for.
const wallSkew = 30 * time.Second

// localClass reports whether failures of a class depend on which replica asks.
func localClass(c token.Class) bool {
	return c == token.Unreachable || c == token.Address || c == token.Blocked
}

// serve waits for what comes next, and does it, until ctx ends.
func (g *termRun) serve(ctx context.Context, inbox Inbox) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		at, why := g.next()
		now := g.cfg.Clock.Now()
		probe := g.probeAt(at)
		timer.Reset(min(max(min(at, probe).Sub(now), 0), longestTimer))
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-inbox.Orphans:
			err = g.resync(ctx)
		case call := <-inbox.Calls:
			err = g.takeOrRetry(ctx, call)
		case <-timer.C:
			switch now := g.cfg.Clock.Now(); {
			case ctx.Err() != nil:
			case now >= at:
				err = g.attempt(ctx, why)
			case now >= probe:
				err = g.probe(ctx)
			}
		}
		if errors.Is(err, token.ErrConflict) {
			err = g.resync(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// next returns when the next attempt may begin, and why it will.
func (g *termRun) next() (clock.Instant, string) {
	now := g.cfg.Clock.Read()
	in, why := g.policy.Due(g.rec, g.traits, now.Wall, g.ends.Sub(now.At))
	at := now.At.Add(in)
	switch {
	case g.operatorWaits():
		at, why = now.At, reasonOperator
	case g.retryAt > at:
		at, why = g.retryAt, reasonRetry
	}
	return max(at, g.quietEnd()), why
}

// left is what is left until the nominal end of the current value.
func (g *termRun) left() time.Duration { return g.ends.Sub(g.cfg.Clock.Now()) }

// resync reads the record anew after a surprise, and heeds orphans. The quiet wait stands: every attempt of this term was ours.
func (g *termRun) resync(ctx context.Context) error {
	entry, err := g.ledger.Read(ctx)
	if err != nil {
		return err
	}
	if err := g.adopt(entry); err != nil {
		return err
	}
	return g.hear(entry.Orphans)
}

// adopt takes in what was read. A pending attempt whose request we know was never written is aborted at once.
func (g *termRun) adopt(entry token.Entry) error {
	wentBack := entry.Revision < g.rev
	g.committed = g.committed && entry.Record.Value == g.rec.Value
	g.rec, g.rev = entry.Record, entry.Revision
	if _, waiting := g.rec.HandedOver[g.cfg.Replica]; !waiting {
		g.cfg.Rest.end(g.cfg.Name)
	}
	now := g.cfg.Clock.Read()
	end, known := g.cfg.Lives.NominalEnd(g.rec.Version)
	switch {
	case g.rec.Value.IsZero():
		end = now.At
	case !known:
		end = now.At.Add(g.rec.IssuedAt.Add(g.rec.Life).Sub(now.Wall))
	}
	g.ends = end
	if floor := g.cfg.Lives.Version(); g.rec.Version < floor {
		if err := g.raise(floor); err != nil {
			return err
		}
	}
	if wentBack && g.traits.Rotating && (g.rec.Pending != nil || g.rec.Issued() && !g.rec.Doubt) { // the store was restored within the term
		if err := g.doubt(); err != nil {
			return err
		}
	}
	if local := g.cfg.Lives.Local(); local >= g.rec.Version && local > g.rec.Floor {
		if err := g.goAbove(local); err != nil {
			return err
		}
	}
	if p := g.rec.Pending; p != nil && g.unwritten[p.Attempt] {
		return g.abort(*p, g.notWritten(errUnknownBegin))
	}
	return nil
}

// raise heals a store that lost versions which a replica has seen: the next must be higher than any that was ever served. A value that
// was committed in this term is newer than the loss, and moves above it; any other may have been replaced long ago.
func (g *termRun) raise(floor int64) error {
	g.log.Warn("the store lost versions; it was restored from a backup or emptied", "version", g.rec.Version, "seen", floor)
	next := g.rec
	if g.committed {
		next.Version = floor + 1
		return g.put(next)
	}
	next.Version, next.Value, next.Pending = floor, token.Secret{}, nil // see doubt
	next.Doubt, next.Drained, next.Condemned = true, false, false
	if err := g.put(next); err != nil {
		return err
	}
	g.ends = g.cfg.Clock.Now()
	g.beQuiet(g.ends)
	return nil
}

// put writes the record under the fence; orphans name those to delete with it.
func (g *termRun) put(next token.Record, orphans ...string) error {
	rev, err := g.ledger.Write(g.settle, g.rev, next, orphans...)
	if err != nil {
		return err
	}
	g.rec, g.rev = next, rev
	return nil
}

// disown is the last thing in a term: it tells the next leader of attempts that look pending but were never written.
func (g *termRun) disown() error {
	for attempt := range g.unwritten {
		if err := g.ledger.Leave(g.settle, token.Orphan{Attempt: attempt, Outcome: token.OutcomeNone}); err != nil {
			return err
		}
	}
	return nil
}
