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
		if w.step == abort || w.step == commit && !d.Rotating {
			return
		}
	}
	first, second := d.writes[last], d.writes[i]
	wait := d.Timing.W
	switch {
	case !d.Rotating && !first.Forced:
		return
	case !d.Rotating, first.Drained, d.writes[i-1].Condemned:
		wait = d.Timing.Settled()
	}
	after := second.to - first.from
	if after >= wait {
		return
	}
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
	open := d.unsettled()
	for _, t := range d.issued {
		if t.Foreign {
			continue
		}
		k.Judged++
		if _, committed := d.commits[t.Value]; committed {
			continue
		}
		for len(open) > 0 && open[0].to+d.Timing.Settled() < t.From {
			open = open[1:]
		}
		switch {
		case len(open) > 0 && open[0].from <= t.From:
			open = open[1:]
		case !d.Rotating && c.alone(t):
			k.exclude("a replica that was cut off fetched alone", issuedLine(t))
		case c.paused(d, death{by: []*history.Issued{t}}):
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

// unsettled returns the attempts whose outcome was never written.
func (d *dossier) unsettled() []write {
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

// alone reports whether a replica that may have fetched a token had not heard from etcd for a while.
func (c *court) alone(t *history.Issued) bool {
	return slices.ContainsFunc(c.replicas, func(r *replica) bool {
		return (t.Replica == "" || t.Replica == r.id) && r.apart.touch(span{t.From - c.Hear, t.From})
	})
}

// aloneEvery is the least time between two fetches of a replica that is cut off.
const aloneEvery = time.Minute

// asked judges the number of requests that came in at WeChat: one an attempt, and what replicas may have asked alone.
func (c *court) asked(k *tally, d *dossier) {
	if d.Requests == 0 {
		return
	}
	allowed := 0
	for _, w := range d.writes {
		if w.step == begin {
			allowed++
		}
	}
	attempts := allowed
	for _, r := range c.replicas {
		for _, s := range r.apart {
			if !d.Rotating {
				allowed += 1 + int((min(s.to, c.end)-min(s.from, c.end))/aloneEvery)
			}
		}
	}
	k.Judged++
	if d.Requests > allowed {
		k.violate(fmt.Sprintf("%s: %d requests for %d attempts, %d allowed", d.Name, d.Requests, attempts, allowed))
	}
}
