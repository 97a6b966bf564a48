package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// How reports are bounded.
const (
	// reportSpacing is the least time between two fetches that reports cause, beside the rules of the protocol.
	reportSpacing = 30 * time.Second
	// verdictLife is how long a verdict answers further reports of the same version.
	verdictLife = 10 * time.Second
	// patience is how long a call may wait for its fetch to begin; what would wait longer is told when to come back.
	patience = 10 * time.Second
)

// takeOrRetry hears one call, again if the record was changed in between: nobody else would answer it in this term.
func (g *termRun) takeOrRetry(ctx context.Context, call token.Call) error {
	for {
		err := g.take(ctx, call)
		if !errors.Is(err, token.ErrConflict) {
			return err
		}
		if err := g.resync(ctx); err != nil {
			return err
		}
	}
}

// take hears one call. It either answers it or keeps it for the next attempt to answer.
func (g *termRun) take(ctx context.Context, call token.Call) error {
	switch {
	case call.Kind == token.RequestFloor:
		return g.takeFloor(call)
	case call.Kind == token.RequestDoubt:
		return g.takeDoubt(ctx, call)
	case call.Kind == token.RequestReseal:
		return g.takeReseal(ctx, call)
	case call.Kind != token.RequestReport && call.Kind != token.RequestRefresh:
		call.Reply(token.Reply{
			Verdict: token.VerdictFailed, RetryAfter: verdictLife,
			Reason: fmt.Sprintf("this leader knows no request of kind %q; it may be of an older version", call.Kind),
		})
		return nil
	case g.replaced(call):
		call.Reply(token.Reply{Verdict: token.VerdictDone})
		return nil
	case call.Version > g.rec.Version && call.Kind == token.RequestReport:
		// No caller can report a version that its replica does not hold: the store has lost it.
		if err := g.raise(call.Version); err != nil {
			return err
		}
		call.Reply(token.Reply{Verdict: token.VerdictDone})
		return nil
	case call.Version > g.rec.Version:
		call.Reply(token.Reply{
			Verdict: token.VerdictFailed, RetryAfter: verdictLife,
			Reason: fmt.Sprintf("version %d is not known to the leader, which has %d", call.Version, g.rec.Version),
		})
		return nil
	case call.Kind == token.RequestRefresh:
		g.takeRefresh(call)
		return nil
	default:
		return g.takeReport(ctx, call)
	}
}

// replaced reports whether the version that a call names is gone: killed, if that is what the call wants.
func (g *termRun) replaced(call token.Call) bool {
	if call.Force {
		return call.Version < g.rec.ForcedVersion
	}
	return call.Version < g.rec.Version
}

// takeRefresh queues an operator's call. A forced one must fit the upstream's own limits at once.
func (g *termRun) takeRefresh(call token.Call) {
	if call.Force {
		if !g.traits.Force {
			call.Reply(token.Reply{Verdict: token.VerdictFailed, RetryAfter: verdictLife, Reason: "this upstream knows no forced refresh"})
			return
		}
		if wait, reason := g.forcedAllowance(g.cfg.Clock.Wall()); wait > 0 {
			call.Reply(token.Reply{Verdict: token.VerdictExhausted, RetryAfter: wait, Reason: reason})
			return
		}
	}
	g.calls = append(g.calls, call)
}

// takeReport acts on a report that the current version is dead, after the upstream confirmed it where it can be asked.
func (g *termRun) takeReport(ctx context.Context, call token.Call) error {
	// What the leader remembers may be lost: etcd can be restored within a term, election key and all, and then replicas report what it
	// no longer has.
	if err := g.resync(ctx); err != nil {
		return err
	}
	if call.Version != g.rec.Version {
		return g.take(ctx, call)
	}
	if !g.rec.Condemned && !g.rec.Value.IsZero() {
		dead, reply := g.confirm(ctx)
		if ctx.Err() != nil {
			return ctx.Err() // the call stays in the store for the next leader
		}
		if !dead {
			call.Reply(reply)
			return nil
		}
		if err := g.condemn(byReport); err != nil {
			return err
		}
	}
	at, why := g.next()
	wait := at.Sub(g.cfg.Clock.Now())
	switch {
	case wait <= patience:
		g.calls = append(g.calls, call)
	case why == reasonRetry && g.rec.Failures > 0:
		failure := g.rec.LastFailure
		call.Reply(token.Reply{Verdict: token.VerdictFailed, RetryAfter: wait, Failure: &failure})
	default:
		call.Reply(token.Reply{
			Verdict: token.VerdictExhausted, RetryAfter: wait,
			Reason: "the token is known to be dead; the next fetch must keep its distance from the last",
		})
	}
	return nil
}

// confirm asks the upstream whether the current value is dead. If it is not, or that could not be learned, the reply says so.
func (g *termRun) confirm(ctx context.Context) (bool, token.Reply) {
	if g.policy.TrustReports {
		return true, token.Reply{}
	}
	health, err := g.examine(ctx)
	switch {
	case errors.Is(err, token.ErrNoProbe):
		return true, token.Reply{}
	case err != nil:
		g.log.Warn("asking the upstream whether the token lives failed", "err", err)
		failure, _ := errors.AsType[*token.Failure](err)
		return false, token.Reply{
			Verdict: token.VerdictFailed, RetryAfter: verdictLife,
			Reason: "the upstream could not be asked whether the token is dead", Failure: failure,
		}
	case health == token.Alive:
		return false, token.Reply{Verdict: token.VerdictUnchanged, RetryAfter: verdictLife, Reason: "the upstream accepts the token"}
	}
	return true, token.Reply{}
}

func (g *termRun) operatorWaits() bool {
	for _, c := range g.calls {
		if c.Kind == token.RequestRefresh {
			return true
		}
	}
	return false
}

// answerDone replies to every call that waits for what has just been committed. A forced one waits on if the attempt was not.
func (g *termRun) answerDone(reply token.Reply) {
	waiting := g.calls
	g.calls = nil
	for _, c := range waiting {
		if c.Force && !g.replaced(c) {
			g.calls = append(g.calls, c)
		} else {
			c.Reply(reply)
		}
	}
}

// answer replies to every call that waits.
func (g *termRun) answer(reply token.Reply) {
	reply.RetryAfter = max(reply.RetryAfter, 0)
	for _, c := range g.calls {
		c.Reply(reply)
	}
	g.calls = nil
}
