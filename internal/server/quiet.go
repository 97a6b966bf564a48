package server

import (
	"time"

	"github.com/tokenbroker/tokenbroker/internal/view"
)

// begins is when a fetch is due and may begin; zero if no fetch is planned.
func (p Plan) begins() time.Time {
	if !p.Next.IsZero() && p.Quiet.After(p.Next) {
		return p.Quiet
	}
	return p.Next
}

// rest is how long callers need not ask again, since no fetch begins before: 0 if one may begin, or one that may bring the token is under way.
func (s *Server) rest(t *view.Token) time.Duration {
	plan := s.planner.Plan(t.Name(), s.election().Leader)
	if plan.UnderWay {
		return 0
	}
	return max(plan.Quiet.Sub(s.cfg.Wall()), 0)
}
