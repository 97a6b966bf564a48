package main

import (
	"github.com/tokenbroker/tokenbroker/internal/leader"
	"github.com/tokenbroker/tokenbroker/internal/server"
)

// cluster shows the election to package server, which does not know package leader.
type cluster struct {
	*leader.Observer

	elector *leader.Elector
}

// Leading implements server.Cluster.
func (c cluster) Leading() int64 { return c.elector.Leading() }

// Election implements server.Cluster.
func (c cluster) Election() server.Election {
	seen := c.Observer.Election()
	e := server.Election{Candidates: make([]server.Candidate, len(seen.Candidates))}
	for i, candidate := range seen.Candidates {
		e.Candidates[i] = shown(candidate)
	}
	if seen.Leader != nil {
		first := shown(*seen.Leader)
		e.Leader = &first
	}
	return e
}

func shown(c leader.Candidate) server.Candidate {
	return server.Candidate{ID: c.ID, Address: c.Address, Key: c.Key, Term: c.Revision, Since: c.Since}
}

// peers counts the other replicas that could lead. With none, giving up the lead because the upstream cannot be reached would only
// cost time.
func (c cluster) peers(id string) int {
	n := 0
	for _, candidate := range c.Observer.Election().Candidates {
		if candidate.ID != id {
			n++
		}
	}
	return n
}
