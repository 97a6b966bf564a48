package refresh

import (
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// quietWait is the time in which no attempt may begin: until wait after from, and until late.
type quietWait struct {
	from clock.Instant
	wait time.Duration
	late clock.Instant
}

func (q quietWait) end() clock.Instant { return max(q.from.Add(q.wait), q.late) }

// quietEnd is when the quiet wait is over.
func (g *termRun) quietEnd() clock.Instant {
	q := g.quiet
	if !g.rec.Condemned {
		return max(q.end(), g.unknown)
	}
	q.wait = ofCondemned(q.wait, g.timing)
	return max(q.end(), g.elder, g.unknown)
}

// elderAt is elder as a new leader knows it at its first read: W after the request that brought the current value, by the wall clocks and
// with their skew, and W after now at the latest.
func (g *termRun) elderAt(read clock.Instant) clock.Instant {
	if !hasElder(g.rec, g.traits) {
		return 0
	}
	passed := max(0, g.cfg.Clock.Wall().Sub(g.rec.IssuedAt)-wallSkew)
	return read.Add(max(0, g.timing.W-passed))
}

// beQuiet starts a quiet wait after an attempt that ends, or may end, the life of another token.
func (g *termRun) beQuiet(from clock.Instant) {
	if wait := quietAfter(g.rec, g.traits, g.timing); wait > 0 {
		g.quiet = quietWait{from: from, wait: wait}
	}
}

// quietAfter is how long nobody asks the upstream after an attempt that ends, or may end, the life of another token: any on a rotating
// upstream, and a forced one on every other. Where no promise is left to protect, only the order of requests is. 0 after all others.
func quietAfter(rec token.Record, traits token.Traits, timing token.Timing) time.Duration {
	forced := rec.Pending != nil && rec.Pending.Forced || rec.Doubt && !rec.Drained
	switch {
	case traits.Rotating && !rec.Drained:
		return timing.W
	case traits.Rotating || forced:
		return timing.Settled()
	default:
		return 0
	}
}

// ofCondemned is what remains of a wait with the value condemned: nobody's promise on it is left to protect, only the order of requests, and
// what is promised of its predecessor (the elder).
func ofCondemned(wait time.Duration, timing token.Timing) time.Duration {
	return min(wait, timing.Settled())
}

// hasElder reports whether the value has a predecessor that followers may still promise.
func hasElder(rec token.Record, traits token.Traits) bool { return traits.Rotating && rec.Version > 1 }

// QuietUntil is what others than the leader can tell of its quiet wait: until when no fetch begins; zero if nothing keeps it from
// fetching, or that is not known. They know the record, and since when the leader has led, by the wall clocks of those who wrote that. A
// clock that is ahead of wall, the present, does not make the wait longer. What only the leader knows (that a request was late, that the
// store went back, that the attempt which succeeded last had no promise to protect) is not in it.
func QuietUntil(rec token.Record, traits token.Traits, timing token.Timing, led, wall time.Time) time.Time {
	if !rec.Issued() {
		return time.Time{}
	}
	wait := quietAfter(rec, traits, timing)
	if rec.Condemned {
		wait = ofCondemned(wait, timing)
	}
	var end time.Time
	if from := lastAttempt(rec, led); wait > 0 && !from.IsZero() {
		end = earlier(from, wall).Add(wait)
	}
	if elder := earlier(rec.IssuedAt, wall).Add(timing.W); rec.Condemned && hasElder(rec, traits) && elder.After(end) {
		end = elder
	}
	if !end.After(wall) {
		return time.Time{}
	}
	return end
}

// lastAttempt is when the quiet wait began: with the last attempt, or with the term if that began later. Zero if the last attempt of the
// term is known to have issued nothing.
func lastAttempt(rec token.Record, led time.Time) time.Time {
	at := rec.IssuedAt
	switch {
	case rec.Pending != nil:
		at = rec.Pending.At
	case rec.Resolved.Outcome == token.OutcomeNone && rec.Failures > 0 && rec.LastFailure.At.After(led):
		return time.Time{}
	}
	if led.After(at) {
		return led
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// UnderWay reports whether the answer to an attempt that was begun may still come: its leader waits for it until then.
func UnderWay(rec token.Record, timing token.Timing, wall time.Time) bool {
	return rec.Pending != nil && wall.Sub(rec.Pending.At) < timing.G+timing.F
}
