package refresh

import (
	"context"
	"errors"
	"math"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// never is later than anything that is ever due.
const never = clock.Instant(math.MaxInt64)

// Who finds a value dead.
const (
	byReport = "report"
	byProbe  = "probe"
)

// probes is what a term remembers of asking the upstream whether the current value lives.
type probes struct {
	// last is when the upstream was asked last, or until when it wants to be left alone.
	last clock.Instant
	// failing: the last answer was none, which has been logged.
	failing bool
}

// probeAt returns when the upstream is asked next; never if there is nothing to ask, or the next attempt, at attempt, leaves no time for
// it. The owner of the run waits for the answer, so that a probe must be over before anything else is due.
//
// An attempt that may have killed the value explains its death; one that ended lately may not be known in every corner of the upstream.
// So only a settled value is asked for, and not within D of an attempt.
func (g *termRun) probeAt(attempt clock.Instant) clock.Instant {
	switch {
	case g.policy.Verify == 0, g.rec.Value.IsZero(), g.rec.Condemned, !g.rec.Clean(), g.rec.Source != g.traits.Source,
		g.policy.urgent(g.rec, g.left()): // it is fetched as often as can be
		return never
	}
	at := max(g.probes.last.Add(g.policy.Verify), g.begun.Add(max(g.policy.Verify, g.timing.D)), g.cfg.Clock.Now())
	if at.Add(g.timing.F) >= attempt {
		return never
	}
	return at
}

// probe asks the upstream whether the current value lives, as a report would. That it does proves nothing and changes nothing: an
// attempt of somebody else's may be under way. Not to learn it changes nothing either.
func (g *termRun) probe(ctx context.Context) error {
	health, err := g.examine(ctx)
	told := g.probes.failing
	g.probes.failing = err != nil
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil && health == token.Dead:
		return g.condemn(byProbe)
	case err != nil && !told:
		g.log.Warn("asking the upstream whether the token lives failed; it goes on, and is not told again before it succeeds", "err", err)
	}
	return nil
}

// examine asks the upstream whether the current value lives, and blocks for F at most.
func (g *termRun) examine(ctx context.Context) (token.Health, error) {
	asking, cancel := context.WithTimeout(ctx, g.timing.F)
	defer cancel()
	g.probes.last = g.cfg.Clock.Now()
	health, err := g.cfg.Upstream.Probe(asking, g.rec.Value)
	if failure, ok := errors.AsType[*token.Failure](err); ok && failure.RetryAfter > 0 {
		g.probes.last = g.cfg.Clock.Now().Add(failure.RetryAfter)
	}
	if ctx.Err() == nil {
		g.cfg.Metrics.probed(g.cfg.Name, health, err)
	}
	return health, err
}

// condemn records that the current value is dead, so that no replica hands it out any more, and counts that if nobody here ended it.
func (g *termRun) condemn(by string) error {
	early, next := g.early(), g.rec
	next.Condemned = true
	if early {
		next.EarlyDeaths = token.EarlyDeaths{Count: next.EarlyDeaths.Count + 1, Last: g.cfg.Clock.Wall()}
	}
	if err := g.put(next); err != nil {
		return err
	}
	now := g.cfg.Clock.Now()
	if g.reported != 0 {
		g.retryAt = max(g.retryAt, g.reported.Add(reportSpacing))
	}
	g.reported = now
	log := g.log.With("version", g.rec.Version, "found_by", by)
	if !early {
		log.Warn("the token is dead, at its end or by an attempt whose outcome was not known")
		return nil
	}
	meaning, remedy := g.traits.EarlyDeath()
	log.Warn("the token died before its time", "early_deaths", next.EarlyDeaths.Count, "meaning", meaning, "remedy", remedy)
	return nil
}

// early reports whether neither the end of its life nor anything that this cluster did explains that the current value is dead.
func (g *termRun) early() bool {
	return g.left() > g.timing.F && !g.endangered() && g.rec.Source == g.traits.Source
}

// endangered reports whether an attempt of this cluster's may have ended the life of the current value, or be about to.
func (g *termRun) endangered() bool {
	p := g.rec.Pending
	return g.rec.Doubt || p != nil && (g.traits.Rotating || p.Forced)
}
