package refresh

import (
	"context"
	"errors"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Why a request was not written.
var (
	errUnknownBegin = errors.New("the store did not confirm in time that the fetch was announced")
	errTooLate      = errors.New("too much time passed since the fetch was announced")
	errTermOver     = errors.New("the term ended before the request was written")
)

// notWritten is the failure of an attempt that never left this process.
func (g *termRun) notWritten(cause error) *token.Failure {
	return &token.Failure{
		Outcome: token.OutcomeNone, Class: token.Transient, Code: "not_written",
		Meaning: "the request was not sent", Message: cause.Error(), At: g.cfg.Clock.Wall(),
	}
}

// attempt is one fetch: BEGIN, write, and what came of it.
func (g *termRun) attempt(ctx context.Context, why string) error {
	forced := g.forced()
	begun := g.cfg.Clock.Read()
	next, wait, reason := g.spend(begun.Wall, forced)
	if wait > 0 {
		g.retryAt = begun.At.Add(min(wait, quotaRetry))
		g.log.Warn("a fetch is due, but not allowed yet", "due_because", why, "reason", reason, "wait", wait)
		g.answer(token.Reply{Verdict: token.VerdictExhausted, RetryAfter: wait, Reason: reason})
		return nil
	}
	g.forceNext = false
	intent := token.Intent{Attempt: g.cfg.NewAttempt(), Term: g.term, Source: g.traits.Source, At: begun.Wall, Forced: forced}
	if err := g.begin(ctx, next, intent); err != nil {
		return err
	}
	if g.rec.Pending == nil || g.rec.Pending.Attempt != intent.Attempt {
		return nil // BEGIN had an unknown fate, and is settled
	}
	g.begun = g.cfg.Clock.Now()
	g.beQuiet(g.begun)

	// gofail: var refreshAfterBegin struct{}
	f := g.fetch(ctx, begun, forced)
	if f.late {
		g.quiet.late = f.surelyOver
	}
	g.note(intent, why, f)
	switch {
	case f.failure == nil:
		return g.commit(intent, f)
	case f.failure.Outcome != token.OutcomeNone:
		return g.leaveOpen(intent, f)
	case g.shouldHandOver(f.failure):
		return g.abortAndHandOver(intent, f.failure)
	default:
		return g.abort(intent, f.failure)
	}
}

// begin announces the attempt in the store: the write-ahead intent. It must be answered within G, or its request is never written.
func (g *termRun) begin(ctx context.Context, next token.Record, intent token.Intent) error {
	if g.endangered() {
		next.Doubt, next.Drained = true, true
	}
	next.Pending = &intent
	// gofail: var refreshBeforeBegin struct{}
	wctx, cancel := context.WithTimeout(g.settle, g.timing.G)
	defer cancel()
	rev, err := g.ledger.Write(wctx, g.rev, next)
	switch {
	case err == nil:
		g.rec, g.rev = next, rev
		return nil
	case errors.Is(err, token.ErrDeposed), errors.Is(err, token.ErrConflict):
		return err
	}
	g.unwritten[intent.Attempt] = true
	g.log.Warn("announcing a fetch had an unknown result; not fetching", "attempt", intent.Attempt, "err", err)
	g.failed(g.notWritten(errUnknownBegin))
	return g.resync(ctx)
}

// fetched is what came of one request.
type fetched struct {
	asked
	late       bool          // written so late that the upstream may process it after the quiet wait
	surelyOver clock.Instant // when a late request is processed or never will be
	took       time.Duration
}

// fetch writes the request, if it is still time to, and waits for the answer.
func (g *termRun) fetch(ctx context.Context, begun clock.Reading, forced bool) fetched {
	fctx, cancel := context.WithTimeout(g.settle, g.timing.F)
	defer cancel()
	f := fetched{asked: g.ask(fctx, forced, func(now clock.Reading) error {
		switch {
		case ctx.Err() != nil:
			return errTermOver
		case now.Era != begun.Era || now.At.Sub(begun.At) >= g.timing.G:
			return errTooLate
		}
		// gofail: var refreshBeforeWrite struct{}
		return nil
	})}
	f.took = f.done.At.Sub(begun.At)
	if !f.written() || !g.traits.Rotating && !forced {
		return f
	}
	if f.after.Era != begun.Era || f.after.At.Sub(begun.At)+g.timing.D >= g.timing.W {
		f.late, f.surelyOver = true, f.after.At.Add(g.timing.D)
	}
	return f
}
