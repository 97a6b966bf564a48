package judge

import (
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// cause is what ended a value's life.
type cause int

const (
	natural cause = iota // it reached its end, or was replaced in the window in which that lengthens its life
	rotated              // by one or two later fetches of the classic endpoint
	forced               // by a later forced fetch of the stable endpoint
	killed               // by the suite
	unknown              // WeChat's record does not tell
)

// death is how a value ended.
type death struct {
	cause cause
	// by is what was issued and ended it: for a rotation the next one, and the one after that if it was what ended it.
	by []*history.Issued
}

// sameMoment is by how much two times of one event in WeChat's record may differ.
const sameMoment = time.Millisecond

// deathOf says how a value ended. WeChat's record gives the moment only; the causes are told apart by what else happened then.
func (d *dossier) deathOf(value string) death {
	i, ok := d.index[value]
	if !ok {
		return death{cause: unknown}
	}
	t := d.issued[i]
	if t.Until >= t.Ends {
		return death{cause: natural}
	}
	if d.Rotating {
		for n, next := range d.issued[i+1 : min(i+3, len(d.issued))] {
			end := next.From
			if n == 0 {
				end += d.Overlap
			}
			if (end - t.Until).Abs() <= sameMoment {
				return death{cause: rotated, by: d.issued[i+1 : i+2+n]}
			}
		}
	} else if next := d.forcedAt(t.Until); next != nil {
		return death{cause: forced, by: []*history.Issued{next}}
	}
	if t.Killed {
		return death{cause: killed}
	}
	return death{cause: unknown}
}

// forcedAt returns what was issued by force at a moment; nil if nothing was.
func (d *dossier) forcedAt(at time.Duration) *history.Issued {
	n, _ := slices.BinarySearchFunc(d.issued, at-sameMoment, func(t *history.Issued, at time.Duration) int {
		if t.From < at {
			return -1
		}
		return 1
	})
	for ; n < len(d.issued) && d.issued[n].From <= at+sameMoment; n++ {
		if d.issued[n].Forced {
			return d.issued[n]
		}
	}
	return nil
}

// foreign reports whether somebody else had a part in it.
func (x death) foreign() bool {
	return slices.ContainsFunc(x.by, func(t *history.Issued) bool { return t.Foreign })
}

// begunBy returns when the attempt that brought a token was begun, at the earliest. Where no commit tells which attempt it was, it may be
// any that was never settled; of those the last one before a given moment.
func (d *dossier) begunBy(t *history.Issued, before time.Duration) (time.Duration, bool) {
	if i, ok := d.commits[t.Value]; ok {
		for ; i >= 0; i-- {
			if d.writes[i].step == begin {
				return d.writes[i].from, true
			}
		}
		return 0, false
	}
	at, known := time.Duration(0), false
	for _, w := range d.unsettled {
		if w.from < before {
			at, known = w.from, true
		}
	}
	return at, known
}

// mayBelieve reports whether a replica may have believed in a value at a moment within when: whether, between what it must have heard
// from etcd before and what can have been there after, there is a record that allows it. local: it had fetched the value alone.
func (d *dossier) mayBelieve(r *replica, value string, when span, local bool) bool {
	first := 0
	if !local {
		first = d.commits[value] // no record before its commit has it
	}
	if upTo, ok := r.heard(when.from); ok {
		first = max(d.writtenBy(upTo)-1, first)
	}
	if first >= len(d.writes) {
		return true // nothing was seen of etcd
	}
	for i := first; i < len(d.writes) && d.writes[i].from <= when.to; i++ {
		if d.allows(i, value) {
			return true
		}
	}
	return false
}

// allows reports whether a replica that has heard of a write, and of none after it, may promise a value.
func (d *dossier) allows(i int, value string) bool {
	w := d.writes[i]
	if w.Value == value {
		return !d.hopeless(i)
	}
	if at, stored := d.commits[value]; stored && at < i || d.Rotating {
		return false
	}
	// Fetched by the replica alone, though the leader may have got the same value later: it holds until another one is committed, or
	// killed by force. What is known of the record's own value says nothing of it.
	t := d.lookup(value)
	return t != nil && (w.commit < 0 || d.writes[w.commit].from <= t.From) && !d.forcedInto(i, t)
}

// forcedInto reports whether some write up to this one begins a forced attempt that may have been processed after a value was issued.
func (d *dossier) forcedInto(i int, t *history.Issued) bool {
	return slices.ContainsFunc(d.writes[:i+1], func(w write) bool {
		return w.step == begin && w.Forced && w.to+d.Timing.Settled() >= t.From
	})
}

// fresh reports whether a replica counts at a moment the life of a value from its own proof of freshness before the attempt: then no
// wall clock matters. Its process must have been in contact with etcd from before the attempt until after its commit.
func (c *court) fresh(d *dossier, r *replica, t *history.Issued, at time.Duration) bool {
	watched := span{t.From - d.Timing.D - d.Timing.G - hearTime, t.From + hearTime}
	if i, ok := d.commits[t.Value]; ok {
		watched.to = max(watched.to, d.writes[i].to+hearTime)
	}
	return !r.apart.touch(watched) && r.life(t.From) == r.life(at)
}

// wrongClock reports whether a replica may count the life of a value by a wrong wall clock (A4): it counts by wall clocks, and its own
// has been wrong since the value was issued, or the one of who fetched it, or got it once more, was wrong then.
func (c *court) wrongClock(d *dossier, r *replica, t *history.Issued, until time.Duration) bool {
	if c.fresh(d, r, t, until) {
		return false
	}
	if r.skewed.touch(span{t.From, until}) {
		return true
	}
	asked := span{t.From - d.Timing.F - d.Timing.D, t.From}
	for _, other := range c.replicas {
		if (t.Replica == "" || t.Replica == other.id) && other.skewed.touch(asked) {
			return true
		}
	}
	first, committed := d.commits[t.Value]
	return committed && slices.ContainsFunc(d.writes[first:], func(w write) bool {
		other := c.replica[c.terms[w.Term]]
		return w.step == commit && w.Value == t.Value && w.from <= until && other != nil &&
			other.skewed.touch(span{w.from - d.Timing.F - d.Timing.D, w.to})
	})
}
