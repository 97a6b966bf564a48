package judge

import (
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// onTime is the lateness of a request that was written when it should have been.
const onTime = time.Duration(-1)

// excusedTo returns how far promises on a value may reach that a late request rotated away (A3): to W after everybody must have heard of
// it. Negative if no late request did.
func (c *court) excusedTo(d *dossier, x death) time.Duration {
	told := onTime
	for _, t := range x.by {
		told = max(told, c.lateness(d, t))
	}
	if told == onTime || told == forever {
		return told
	}
	return told + d.Timing.W
}

// lateness says of a token whether the request that brought it may have been written after a pause beyond P, between the last look at
// the clock and the write. If so, it returns by when every replica must have heard of that: forever if it may never; else onTime. Many
// promises may hang on one fetch, so it is computed once.
func (c *court) lateness(d *dossier, t *history.Issued) time.Duration {
	told, known := d.late[t]
	if known {
		return told
	}
	told = onTime
	for _, r := range c.replicas {
		for _, s := range r.stops {
			if (t.Replica == "" || t.Replica == r.id) && d.stoppedBefore(t, s) {
				told = max(told, c.told(d, t, r, s))
			}
		}
	}
	d.late[t] = told
	return told
}

// stoppedBefore reports whether a time for which a replica stood still made a request late. It begins after the attempt's BEGIN, or
// counts from that, and ends with the write; the request is processed within D. The history may tell of its end a little later than it was.
func (d *dossier) stoppedBefore(t *history.Issued, s span) bool {
	over := min(s.to, t.From)
	began, known := d.begunBy(t, over-d.Timing.P)
	return known && over-max(s.from, began) > d.Timing.P && t.From-over <= d.Timing.D+d.Timing.G
}

// told returns by when every replica must have heard of a request that a replica wrote when it had stood still for s. If the lead had
// passed on meanwhile, the outcome is left to the successor as an orphan, who puts the token in doubt: that takes the answer to the
// request, and the time to hear of it, in which nothing else is in the way. If it had not, nobody need be told.
func (c *court) told(d *dossier, t *history.Issued, r *replica, s span) time.Duration {
	succeeded := slices.ContainsFunc(d.writes, func(w write) bool {
		return w.from >= s.from && w.to <= t.From && c.terms[w.Term] != r.id
	})
	if !succeeded {
		return forever
	}
	var trouble []span
	for _, other := range c.replicas {
		for _, stop := range slices.Concat(other.apart, other.stops) {
			if other != r || stop.from > t.From || stop.to < s.from { // not what made it late
				// Whoever led may be found dead, and somebody else must be elected.
				trouble = append(trouble, span{stop.from, min(stop.to, forever-2*c.SessionTTL) + 2*c.SessionTTL})
			}
		}
	}
	takes, from := d.Timing.F+hearTime, t.From
	for _, stop := range merge(trouble) {
		if stop.from <= from+takes {
			from = max(from, stop.to)
		}
	}
	if from >= forever-takes || r.down.touch(span{t.From, from + takes}) {
		return forever // the outcome died with the process
	}
	return from + takes
}
