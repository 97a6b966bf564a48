package refresh

import (
	"context"
	"errors"
	"sync"
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
	g.beQuiet(g.cfg.Clock.Now())

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
	if p := g.rec.Pending; g.rec.Doubt || p != nil && (g.traits.Rotating || p.Forced) {
		next.Doubt, next.Drained = true, true
	}
	next.Pending = &intent
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
	grant      token.Grant
	failure    *token.Failure // nil if there is a grant
	wrote      clock.Reading  // the last look at the clock before the write; zero if nothing was written
	late       bool           // written so late that the upstream may process it after the quiet wait
	surelyOver clock.Instant  // when a late request is processed or never will be
	took       time.Duration
}

// fetch writes the request, if it is still time to, and waits for the answer.
func (g *termRun) fetch(ctx context.Context, begun clock.Reading, forced bool) fetched {
	var (
		mu     sync.Mutex // the upstream's client may call back from goroutines of its own, even after it returned
		closed bool
		before clock.Reading
		after  clock.Reading
	)
	fctx, cancel := context.WithTimeout(g.settle, g.timing.F)
	defer cancel()
	grant, err := g.cfg.Upstream.Fetch(fctx, token.FetchRequest{
		Force: forced,
		BeforeWrite: func() error {
			mu.Lock()
			defer mu.Unlock()
			now := g.cfg.Clock.Read()
			switch {
			case ctx.Err() != nil:
				return errTermOver
			case closed || now.Era != begun.Era || now.At.Sub(begun.At) >= g.timing.G:
				return errTooLate
			}
			before = now
			return nil
		},
		AfterWrite: func() {
			now := g.cfg.Clock.Read()
			mu.Lock()
			defer mu.Unlock()
			after = now
		},
	})
	done := g.cfg.Clock.Read()
	mu.Lock()
	defer mu.Unlock()
	closed = true

	f := fetched{grant: grant, wrote: before, took: done.At.Sub(begun.At)}
	if err != nil {
		f.failure = asFailure(err)
		f.failure.At, f.failure.Replica = done.Wall, g.cfg.Replica
		if before != (clock.Reading{}) && !f.failure.Written {
			// The client was let through and yet says that it wrote nothing: do not build on that.
			f.failure.Written, f.failure.Outcome = true, token.OutcomeUnknown
		}
	}
	if before == (clock.Reading{}) || !g.traits.Rotating && !forced {
		return f
	}
	if after == (clock.Reading{}) {
		after = done
	}
	if after.Era != begun.Era || after.At.Sub(begun.At)+g.timing.D >= g.timing.W {
		f.late, f.surelyOver = true, after.At.Add(g.timing.D)
	}
	return f
}

// asFailure takes the failure out of an upstream's error. An upstream that returns anything else has a bug; what it did is unknown.
func asFailure(err error) *token.Failure {
	if failure, ok := errors.AsType[*token.Failure](err); ok {
		copied := *failure
		return &copied
	}
	return &token.Failure{
		Outcome: token.OutcomeUnknown, Class: token.Bug, Written: true, Code: "internal",
		Meaning: "the broker's client for this upstream failed in an unforeseen way",
		Remedy:  "report this as a bug of the broker",
	}
}
