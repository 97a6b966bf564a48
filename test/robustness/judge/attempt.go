package judge

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// distant judges the quiet wait between one attempt and the next: W, if the first may have issued a token and nothing says that its
// predecessor is not promised any more; what the order of requests needs, otherwise. An idempotent upstream needs the latter after a
// forced attempt.
func (c *court) distant(k *tally, d *dossier, last, i int) {
	if last < 0 {
		return
	}
	for _, w := range d.writes[last:i] {
		// Nothing was issued. Or it is known what was, and nobody else's token died of it. A commit on a rotating upstream does not end
		// the wait: followers may still promise the predecessor.
		if w.step == abort || w.step == commit && !d.Rotating {
			return
		}
	}
	first, second := d.writes[last], d.writes[i]
	wait := d.Timing.W
	switch {
	case !d.Rotating && !first.Forced:
		return
	case !d.Rotating, first.Drained, d.writes[i-1].Condemned: // no promise is left to protect, only the order of requests
		wait = d.Timing.Settled()
	}
	after := second.to - first.from
	if after >= wait {
		return
	}
	// The leader waits on its own clock. If that jumps it may have waited for less, and so may who read the record after a jump.
	what := fmt.Sprintf("the next attempt began at most %s after one that may have issued a token, where %v are to be kept", rounded(after), wait)
	for _, r := range c.replicas {
		if r.skewed.touch(span{first.from, second.to}) {
			k.exclude("A4: a clock jumped in the quiet wait", what, first.event, second.event)
			return
		}
	}
	k.violate(what, first.event, second.event)
}

// matched judges that each attempt issued one token at most: a token that was committed belongs to the attempt that brought it, any
// other to an attempt whose outcome was never written, and which it can be of.
func (c *court) matched(k *tally, d *dossier) {
	open := slices.Clone(d.unsettled)
	for _, t := range d.issued {
		if t.Foreign {
			continue
		}
		k.Judged++
		c.heeded(k, d, t)
		if _, committed := d.commits[t.Value]; committed {
			continue
		}
		// All attempts can issue for equally long, so the oldest one that still can is the one to take.
		for len(open) > 0 && open[0].to+d.Timing.Settled() < t.From {
			open = open[1:]
		}
		switch {
		case len(open) > 0 && open[0].from <= t.From:
			open = open[1:]
		case !d.Rotating && c.alone(t):
			k.exclude("a replica that was cut off fetched alone", issuedLine(t))
		case c.lateness(d, t) > onTime:
			k.exclude("A3: the leader stood still for more than P before it wrote the request", issuedLine(t))
		case t.From >= d.seenTo:
			k.exclude("etcd was not looked at any more", issuedLine(t))
		default:
			k.violate("no attempt accounts for what WeChat issued: " + issuedLine(t))
		}
	}
}

func issuedLine(t *history.Issued) string {
	return fmt.Sprintf("%s for %s at %s", brief(t.Value), t.Token, rounded(t.From))
}

// neverSettled returns the attempts whose outcome was never written: the next attempt was begun over them, or nothing followed.
func (d *dossier) neverSettled() []write {
	var open []write
	for i, w := range d.writes {
		if w.step != begin {
			continue
		}
		next := slices.IndexFunc(d.writes[i+1:], func(w write) bool { return w.step == commit || w.step == abort || w.step == begin })
		if next < 0 || d.writes[i+1+next].step == begin {
			open = append(open, w)
		}
	}
	return open
}

// A replica that has had no proof of freshness for cutOffAfter may fetch alone, once in aloneEvery, or in a tenth of the token's longest
// life where that is less.
const (
	cutOffAfter = 10 * time.Second
	aloneEvery  = time.Minute
)

// lonely returns when a replica may have fetched alone: it was apart for cutOffAfter, or for so much less as proofs come apart.
func (c *court) lonely(r *replica) spans {
	var lonely spans
	for _, s := range r.apart.grown(0, hearTime) {
		if s.from += cutOffAfter - hearTime; s.from <= s.to {
			lonely = append(lonely, s)
		}
	}
	return lonely
}

// alone reports whether a replica that may have fetched a token may have done so alone.
func (c *court) alone(t *history.Issued) bool {
	return slices.ContainsFunc(c.replicas, func(r *replica) bool {
		return (t.Replica == "" || t.Replica == r.id) && c.lonely(r).touch(span{t.From, t.From})
	})
}

// asked judges the number of requests that came in at WeChat: one an attempt, and what replicas may have asked alone.
func (c *court) asked(k *tally, d *dossier) {
	if d.Requests == 0 {
		return
	}
	attempts, alone := 0, 0
	for _, w := range d.writes {
		if w.step == begin {
			attempts++
		}
	}
	for _, r := range c.replicas {
		for _, s := range c.lonely(r) {
			if !d.Rotating && s.from <= c.end {
				alone += 1 + int((min(s.to, c.end)-s.from)/min(aloneEvery, d.Life/10))
			}
		}
	}
	k.Judged++
	if d.Requests > attempts+alone {
		k.violate(fmt.Sprintf("%s: %d requests for %d attempts, and at most %d that replicas made alone", d.Name, d.Requests, attempts, alone))
	}
}
