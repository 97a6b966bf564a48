package server

import (
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// quietUntil returns until when the leader leaves the upstream in peace at least, so that no fetch of the token begins before; zero if
// nothing keeps it from fetching, or that is not known. The leader alone knows for certain (see package refresh). This is what the
// record and the election tell of it, by the wall clocks of those who wrote them. leader is nil if nobody is known to lead.
func (s *Server) quietUntil(t *view.Token, plan Plan, r view.Reading, leader *Candidate) time.Time {
	wall := s.cfg.Wall()
	if leader == nil || !r.Record.Issued() {
		return time.Time{}
	}
	until := quietEnd(r.Record, t.Traits(), plan.Timing, leader.Since, wall)
	if !until.After(wall) {
		return time.Time{}
	}
	return until
}

// quietEnd is the end of the quiet wait that follows the last attempt, or the beginning of the term, led; zero if there is none. A clock
// that is ahead does not make it longer.
func quietEnd(rec *token.Record, traits token.Traits, timing token.Timing, led, wall time.Time) time.Time {
	var end time.Time
	if begun, wait := lastAttempt(rec, led), quietWait(rec, traits, timing); wait > 0 && !begun.IsZero() {
		end = earlier(begun, wall).Add(wait)
	}
	if rec.Condemned && traits.Rotating && rec.Version > 1 { // its predecessor may be promised for longer
		end = later(end, earlier(rec.IssuedAt, wall).Add(timing.W))
	}
	return end
}

// lastAttempt is when the quiet wait began: with the last attempt, or with the term if that began later. Zero if the last attempt of the
// term is known to have issued nothing.
func lastAttempt(rec *token.Record, led time.Time) time.Time {
	switch {
	case rec.Pending != nil:
		return later(rec.Pending.At, led)
	case rec.Resolved.Outcome == token.OutcomeNone && rec.Failures > 0 && rec.LastFailure.At.After(led):
		return time.Time{}
	default:
		return later(rec.IssuedAt, led)
	}
}

// quietWait is how long nobody asks the upstream after an attempt. See beQuiet and quietEnd in package refresh.
func quietWait(rec *token.Record, traits token.Traits, timing token.Timing) time.Duration {
	forced := rec.Pending != nil && rec.Pending.Forced || rec.Doubt && !rec.Drained
	switch {
	case traits.Rotating && !rec.Drained && !rec.Condemned:
		return timing.W
	case traits.Rotating, forced:
		return timing.Settled()
	default:
		return 0
	}
}

// rest is how long callers need not ask again, since no fetch begins before: 0 if one may begin, or one that may bring the token is under way.
func (s *Server) rest(t *view.Token, r view.Reading) time.Duration {
	plan, wall := s.planner.Plan(t.Name()), s.cfg.Wall()
	if p := r.Record.Pending; p != nil && wall.Sub(p.At) < plan.Timing.G+plan.Timing.F {
		return 0
	}
	return max(s.quietUntil(t, plan, r, s.election().Leader).Sub(wall), 0)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
