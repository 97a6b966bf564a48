package judge

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// promptly is how long one may take to do something in etcd when nothing is in the way: as long as one call may take.
const promptly = 3 * time.Second

// heeded judges what became of a request that was written so late that a later one's may have come before it. Beyond A3 the token may
// be dead at once; but it must not stay in use. Who wrote the request leaves an orphan, if it lives and reaches etcd; and whoever leads
// then puts the token in doubt, until one is committed that was issued after the late one. That does not hang on what callers see.
func (c *court) heeded(k *tally, d *dossier, t *history.Issued) {
	attempt, ok := c.lateAttempt(d, t)
	if !ok {
		return
	}
	deadline := c.actedOn(c.replica[t.Replica], t.From, d.Timing.F+promptly)
	if deadline >= d.seenTo {
		return
	}
	k.Judged++
	for i := max(d.writtenBy(deadline)-1, 0); i < len(d.writes) && d.writes[i].from <= deadline; i++ {
		w := d.writes[i]
		newer := d.lookup(w.Value)
		if w.Doubt || w.Condemned || w.Attempt == attempt.Attempt || newer != nil && newer.From > t.From {
			return
		}
	}
	k.violate(fmt.Sprintf("until %s nobody heeded what a late request had issued, %s", rounded(deadline), issuedLine(t)), attempt.event)
}

// lateAttempt returns the attempt that issued a token late by the protocol's rule: W before D had passed since its write. False if it was
// not late, or if that cannot be told. One that was committed was heeded.
func (c *court) lateAttempt(d *dossier, t *history.Issued) (write, bool) {
	if _, committed := d.commits[t.Value]; committed || !d.Rotating || c.replica[t.Replica] == nil {
		return write{}, false
	}
	for _, w := range slices.Backward(d.unsettled) {
		if w.from <= t.From && c.terms[w.AttemptTerm] == t.Replica {
			return w, t.From-w.to >= d.Timing.W // it was processed within D of its write
		}
	}
	return write{}, false
}

// actedOn returns by when a leader must have acted on what a replica learned at a moment, if each of the two takes a given time at most
// to do its part, in which it is in contact with etcd and does not stand still. forever if that never came about: the replica may have
// died with what it knew, or nobody may have led for long enough.
func (c *court) actedOn(r *replica, learned, takes time.Duration) time.Duration {
	left := merge(r.apart, r.stops).firstFree(learned, takes)
	if left == forever || r.life(left) != r.life(learned) {
		return forever
	}
	var leader *replica // while nobody leads there is none
	acted := func(since time.Duration) time.Duration {
		if leader == nil {
			return forever
		}
		return merge(leader.apart, leader.stops).firstFree(max(since, left), takes)
	}
	var since time.Duration
	for _, e := range c.etcd {
		if e.Kind != history.Election {
			continue
		}
		if at := acted(since); at <= e.Received {
			return at
		}
		switch now := leaderOf(e); {
		case !now.Proclaimed:
			leader = nil
		case leader != c.replica[now.ID]:
			leader, since = c.replica[now.ID], e.Received
		}
	}
	return acted(since)
}
