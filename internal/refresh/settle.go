package refresh

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// handOverAfter is how many attempts in a row may fail to reach the upstream before another replica is asked to lead; handOverRest
// is how long a replica that gave up the lead for a token does not do so for it again, unless another could fetch it meanwhile.
const (
	handOverAfter = 3
	handOverRest  = time.Hour
)

// commit writes the token that was fetched.
func (g *termRun) commit(intent token.Intent, f fetched) error {
	if g.isDead(intent, f.grant.Value) {
		return g.stillDead(intent)
	}
	same := g.rec.Value == f.grant.Value
	orphan := token.Orphan{
		Attempt: intent.Attempt, Outcome: token.OutcomeToken, Late: f.late,
		Value: f.grant.Value, IssuedAt: f.wrote.Wall, Life: f.grant.Life,
	}
	now := g.cfg.Clock.Wall()
	// gofail: var refreshBeforeCommit struct{}
	committed, err := g.resolve(intent, orphan, func(rec token.Record) token.Record {
		return granted(rec, orphan, intent.Source, g.cfg.Replica, now)
	})
	if err != nil || !committed {
		return err
	}
	// gofail: var refreshAfterCommit struct{}
	g.succeeded(f.wrote.At.Add(f.grant.Life))
	if same {
		g.answerDone(token.Reply{Verdict: token.VerdictUnchanged, Reason: "the upstream answered with the same token"})
	} else {
		g.answerDone(token.Reply{Verdict: token.VerdictDone})
	}
	return nil
}

// isDead reports whether an attempt was answered with the very value that it was to replace.
func (g *termRun) isDead(intent token.Intent, value token.Secret) bool {
	return !g.rec.Value.IsZero() && g.rec.Value == value && (g.rec.Condemned || intent.Forced)
}

// granted is rec after the commit of what an attempt brought. It has a new version if the value is new, or if a replica served another
// value under this version or a higher one. by is the replica that fetched it; empty if that is not known.
func granted(rec token.Record, o token.Orphan, source, by string, now time.Time) token.Record {
	if rec.Value.IsZero() || rec.Value != o.Value || rec.Floor >= rec.Version && rec.Floor > 0 {
		rec.Version = max(rec.Version, rec.Floor) + 1
	}
	if p := rec.Pending; p != nil && p.Forced {
		rec.ForcedVersion = rec.Version
	}
	rec.Source, rec.Value, rec.IssuedAt, rec.Life = source, o.Value, o.IssuedAt, o.Life
	rec.Pending, rec.Doubt, rec.Drained, rec.Condemned = nil, false, false, false
	rec.Resolved = token.Resolution{Attempt: o.Attempt, Outcome: token.OutcomeToken}
	rec.RefreshedAt, rec.Failures, rec.HandedOver, rec.Floor = now, 0, nil, 0
	if f := rec.LastFailure; !localClass(f.Class) || f.Replica == by {
		rec.LastFailure.Remedy = "" // nothing is left to do; but where another replica was refused, there is
	}
	return rec
}

// succeeded resets what a commit makes void.
func (g *termRun) succeeded(ends clock.Instant) {
	g.ends, g.retryAt, g.committed, g.forceNext, g.lost = ends, 0, true, false, 0
	switch {
	case !g.traits.Rotating:
		g.quiet = quietWait{} // it was for the forced attempt that has now succeeded
	case g.rec.Version > 1:
		g.elder = g.begun.Add(g.timing.W) // who promises the predecessor has not heard of the attempt, which was begun by then
	}
}

// stillDead settles an attempt that was answered with the very value that is dead: an idempotent upstream that does not know of it,
// or one that did not heed a forced attempt. Nothing was issued. The next attempt is forced where that is possible.
func (g *termRun) stillDead(intent token.Intent) error {
	failure := &token.Failure{
		Outcome: token.OutcomeNone, Class: token.Transient, Written: true, Code: "unchanged",
		Meaning: "the upstream answered with the token that is to be replaced", At: g.cfg.Clock.Wall(),
	}
	if !intent.Forced && g.traits.Force {
		g.forceNext = true
		return g.abortQuietly(intent, failure)
	}
	failure.RetryAfter = g.traits.ForcedSpacing
	return g.abort(intent, failure)
}

// abort settles an attempt that for certain issued nothing.
func (g *termRun) abort(intent token.Intent, failure *token.Failure) error {
	if err := g.abortQuietly(intent, failure); err != nil {
		return err
	}
	g.failed(failure)
	return nil
}

// abortAndHandOver aborts, and gives up the lead: it returns ErrHandOver. The record says so, for handOverRest.
func (g *termRun) abortAndHandOver(intent token.Intent, failure *token.Failure) error {
	orphan := token.Orphan{Attempt: intent.Attempt, Outcome: token.OutcomeNone}
	now := g.cfg.Clock.Wall()
	// gofail: var refreshBeforeHandOver struct{}
	settled, err := g.resolve(intent, orphan, func(rec token.Record) token.Record {
		rec = refused(rec, intent, failure)
		rec.HandedOver = maps.Clone(rec.HandedOver)
		if rec.HandedOver == nil {
			rec.HandedOver = map[string]time.Time{}
		}
		rec.HandedOver[g.cfg.Replica] = now
		return rec
	})
	if err != nil || !settled {
		return err
	}
	g.failed(failure)
	g.log.Warn("giving up the lead: another replica may reach the upstream", "reason", failure.Error(), "remedy", failure.Remedy)
	// gofail: var refreshAfterHandOver struct{}
	return ErrHandOver
}

// abortQuietly settles the attempt without back-off and without an answer to those who wait for one.
func (g *termRun) abortQuietly(intent token.Intent, failure *token.Failure) error {
	orphan := token.Orphan{Attempt: intent.Attempt, Outcome: token.OutcomeNone}
	// gofail: var refreshBeforeAbort struct{}
	settled, err := g.resolve(intent, orphan, func(rec token.Record) token.Record { return refused(rec, intent, failure) })
	if err == nil && settled {
		g.quiet = quietWait{} // nothing was issued, so there is nothing to wait for
	}
	return err
}

// refused is rec after the abort of an attempt. Doubt stays what it was.
func refused(rec token.Record, intent token.Intent, failure *token.Failure) token.Record {
	rec.Pending = nil
	rec.Resolved = token.Resolution{Attempt: intent.Attempt, Outcome: token.OutcomeNone}
	rec.LastFailure = *failure
	rec.Failures++
	if !failure.Written {
		rec.Spent.Fetches = max(0, rec.Spent.Fetches-1) // the upstream never saw it
		if intent.Forced {
			rec.Spent.Forced = max(0, rec.Spent.Forced-1)
		}
	}
	return rec
}

// leaveOpen leaves the attempt pending, because nobody knows what it did. Only what people read is written, and the protocol's
// fields stay as BEGIN left them.
func (g *termRun) leaveOpen(intent token.Intent, f fetched) error {
	g.rec.LastFailure = *f.failure
	g.rec.Failures++
	g.failed(f.failure)
	wctx, cancel := g.settle, context.CancelFunc(func() {})
	if !f.late { // only a late request makes it matter whether the term is over
		wctx, cancel = context.WithTimeout(g.settle, g.timing.F)
	}
	defer cancel()
	rev, err := g.ledger.Write(wctx, g.rev, g.rec)
	switch {
	case err == nil:
		g.rev = rev
	case errors.Is(err, token.ErrDeposed):
		if f.late {
			return g.bequeath(token.Orphan{Attempt: intent.Attempt, Outcome: token.OutcomeUnknown, Late: true})
		}
		return err
	case errors.Is(err, token.ErrConflict):
		return err
	default:
		g.log.Warn("noting a failure had an unknown result", "attempt", intent.Attempt, "err", err)
	}
	return nil
}

// resolve writes the outcome of an attempt: change makes the new record of the old. Once the term is over, or the store has moved on
// from the attempt, the outcome is left as an orphan instead, and false returned. It does not give up while settle lives.
func (g *termRun) resolve(intent token.Intent, orphan token.Orphan, change func(token.Record) token.Record) (bool, error) {
	for {
		err := g.put(change(g.rec))
		switch {
		case err == nil:
			delete(g.unwritten, intent.Attempt)
			return true, nil
		case errors.Is(err, token.ErrDeposed):
			return false, g.bequeath(orphan)
		case !errors.Is(err, token.ErrConflict):
			return false, err
		}
		entry, err := g.ledger.Read(g.settle)
		if err != nil {
			return false, err
		}
		if p := entry.Record.Pending; p == nil || p.Attempt != intent.Attempt {
			if err := g.ledger.Leave(g.settle, orphan); err != nil {
				return false, err
			}
			return false, g.adopt(entry)
		}
		g.rec, g.rev = entry.Record, entry.Revision
	}
}

// bequeath leaves an outcome to whoever leads now.
func (g *termRun) bequeath(orphan token.Orphan) error {
	// gofail: var refreshBeforeOrphan struct{}
	if err := g.ledger.Leave(g.settle, orphan); err != nil {
		return err
	}
	delete(g.unwritten, orphan.Attempt)
	return token.ErrDeposed
}

// failed sets the back-off and answers those who waited for this attempt.
func (g *termRun) failed(failure *token.Failure) {
	wait := backOff(*failure, max(1, g.rec.Failures), g.left(), g.cfg.Jitter())
	g.retryAt = g.cfg.Clock.Now().Add(wait)
	at, _ := g.next()
	g.answer(token.Reply{Verdict: token.VerdictFailed, RetryAfter: at.Sub(g.cfg.Clock.Now()), Failure: failure})
}

// shouldHandOver counts attempts that did not reach the upstream, and reports whether another replica should try instead.
func (g *termRun) shouldHandOver(failure *token.Failure) bool {
	if !localClass(failure.Class) {
		g.lost = 0
		return false
	}
	g.lost++
	last, did := g.rec.HandedOver[g.cfg.Replica]
	rested := !did || g.cfg.Clock.Wall().Sub(last).Abs() >= handOverRest
	enough := g.lost >= handOverAfter || failure.Class == token.Blocked // a stated block does not pass by trying again
	return enough && rested && g.cfg.Peers() > 0 && g.cfg.Rest.take(g.cfg.Name, g.cfg.Clock.Now())
}
