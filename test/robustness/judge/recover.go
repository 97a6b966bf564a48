package judge

import (
	"fmt"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// recovery judges A2.
func (c *court) recovery() Check {
	k := c.check("A2", "after the last fault every replica promises every token again in time, and goes on so")
	if c.healed < 0 {
		return k.done()
	}
	for _, r := range c.replicas {
		for _, d := range c.dossiers {
			k.Judged++
			c.recovered(k, r, d)
		}
	}
	return k.done()
}

// recovered judges one replica and one token.
func (c *court) recovered(k *tally, r *replica, d *dossier) {
	within := c.RecoverWithin
	if within == 0 {
		within = d.Recovery(c.SessionTTL)
	}
	// That it was not asked for long is no excuse: the suite is to ask.
	lame, good := c.health(k, r, d, within)
	switch {
	case lame == nil && good == nil:
		k.violate(fmt.Sprintf("no call found %s well of %s after the last fault", r.id, d.Name))
	case good == nil:
		k.violate("it was never well again", lame)
	case good.Received-c.healed > within && lame != nil:
		k.violate(fmt.Sprintf("it was not well for good until %s after the last fault, %s are allowed", rounded(good.Received-c.healed), rounded(within)), lame, good)
	case good.Received-c.healed > within:
		k.violate(fmt.Sprintf("it was not asked within %s", rounded(within)), good)
	}
}

// health returns the last call after the end of the last fault that found the replica without a promise, and the first one after that
// which found it with one; nil if there was none. What a forced refresh causes is left out: it is no fault, and kills at once.
func (c *court) health(k *tally, r *replica, d *dossier, within time.Duration) (lame, good *history.Event) {
	for _, e := range c.gets {
		if e.Replica != r.id || e.Token != d.Name || e.Sent < c.healed || e.MinTTL > 0 && !served(e) || codeIs(e.Code, "canceled") {
			continue
		}
		switch well := served(e) && e.Answer.State == active; {
		case well && good == nil:
			good = e
		case well:
		case d.replacing(span{e.Sent, e.Received}, within):
			k.exclude("a dead token was being replaced, or one was killed by order", "nothing was promised", e)
		default:
			lame, good = e, nil
		}
	}
	return lame, good
}

// replacing reports whether a replica may have seen, within when, that the value is dead or is being killed by order, and that this was
// so for less than a given time.
func (d *dossier) replacing(when span, within time.Duration) bool {
	first := max(d.writtenBy(when.from-hearTime)-1, 0) // the oldest that the replica may go by
	began := first                                     // where the trouble at i began
	for began > 0 && d.hopeless(began) && d.hopeless(began-1) {
		began--
	}
	for i := first; i < len(d.writes) && d.writes[i].from <= when.to; i++ {
		if !d.hopeless(i) {
			began = i + 1
		} else if when.from-d.writes[began].from < within {
			return true
		}
	}
	return false
}

// hopeless reports whether nothing can be promised after a write, whoever hears of it and when.
func (d *dossier) hopeless(i int) bool {
	w := d.writes[i]
	return w.Condemned || !d.Rotating && (w.Doubt || w.Attempt != "" && w.Forced)
}
