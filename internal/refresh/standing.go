package refresh

import "github.com/tokenbroker/tokenbroker/internal/clock"

// standing is what a run has seen in its term: from when on, and what it has begun. All of that stays true for a later run of the same
// term, which need not wait for it anew.
type standing struct {
	term                  int64 // 0: none
	rev                   int64
	begun, elder, unknown clock.Instant
	quiet                 quietWait
}

// Follow makes r, which has not run yet, go on where old ended, if that is in the same term and both ask the same account by the same
// waits. Neither may be running.
func (r *Refresher) Follow(old *Refresher) {
	if r.traits.Source == old.traits.Source && r.traits.Rotating == old.traits.Rotating && r.timing == old.timing {
		r.stood = old.stood
	}
}

// stand keeps what the run has seen, if it came so far.
func (g *termRun) stand() {
	if g.begun > 0 {
		g.stood = standing{term: g.term, rev: g.rev, begun: g.begun, elder: g.elder, unknown: g.unknown, quiet: g.quiet}
	}
}

// resume takes in what an earlier run of the term has seen, and reports whether there was one. revision is the record's: nobody else
// writes it in the term. If it is not where that run left it, etcd went back in time, and may have given another term the same number.
func (g *termRun) resume(revision int64) bool {
	s := g.stood
	if s.term != g.term {
		return false
	}
	g.rev = s.rev
	if s.rev != revision {
		return false
	}
	g.begun, g.elder, g.unknown, g.quiet = s.begun, s.elder, s.unknown, s.quiet
	return true
}
