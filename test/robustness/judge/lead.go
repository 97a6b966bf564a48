package judge

import (
	"fmt"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// leadership judges L: that every record is written by who leads then, so that the writes of two terms never interleave.
func (c *court) leadership() Check {
	k := c.check("L", "one leads at a time, and only who leads writes")
	var election, led, before *history.Event // the last election, the last one with a leader, the last write
	for _, e := range c.etcd {
		switch {
		case e.Kind == history.Election:
			k.Judged++
			election = e
			if c.elected(k, led, e); leaderOf(e).Proclaimed {
				led = e
			}
		case e.Stored != nil:
			k.Judged++
			c.wrote(k, election, before, e)
			before = e
		}
	}
	return k.done()
}

// wrote judges one write of a record, after the last change of the election and the last write of any record. The watch tells of both in
// the order of their revisions, so that it is known exactly who led.
func (c *court) wrote(k *tally, election, before, e *history.Event) {
	switch {
	case e.Stored.Term == 0:
		k.violate("a write that does not say in which term it was made", e)
	case before != nil && e.Stored.Term < before.Stored.Term:
		k.violate(fmt.Sprintf("term %d wrote after term %d", e.Stored.Term, before.Stored.Term), before, e)
	case election == nil:
		k.exclude("the election was not seen yet", "a write", e)
	case leaderOf(election).Created != e.Stored.Term || !leaderOf(election).Proclaimed:
		k.violate("a write of who did not lead", election, e)
	}
}

// leaderOf is who leads, or is to lead: the oldest candidate. The zero Candidate if there is none.
func leaderOf(e *history.Event) history.Candidate {
	if len(e.Candidates) == 0 {
		return history.Candidate{}
	}
	return e.Candidates[0]
}

// elected judges one state of the election, after the last one with a leader. A key that was put a second time has been proclaimed, which
// its owner may do only when no older one is there; and keys that are gone do not come back.
func (c *court) elected(k *tally, led, e *history.Event) {
	for i, candidate := range e.Candidates {
		switch {
		case i > 0 && candidate.Created <= e.Candidates[i-1].Created:
			k.violate("candidates out of order", e)
			return
		case i > 0 && candidate.Proclaimed:
			k.violate("one proclaimed itself while an older candidate was there", e)
			return
		}
	}
	if led != nil && leaderOf(e).Proclaimed && leaderOf(e).Created < leaderOf(led).Created {
		k.violate("an earlier term leads again", led, e)
	}
}

// change is one change of leaders.
type change struct {
	from, to string
	// took is the time from what the last leader met with until the next one proclaimed itself; negative if nothing is known that it met
	// with: it resigned, or handed over.
	took time.Duration
	// store: it was etcd itself that failed, not this leader alone.
	store bool
}

// changes returns all changes of leaders.
func (c *court) changes() []change {
	var (
		all   []change
		last  *history.Event // when the present leader proclaimed itself
		since = forever      // when its key was gone
	)
	for _, e := range c.etcd {
		if e.Kind != history.Election {
			continue
		}
		now := leaderOf(e)
		if last != nil && since == forever && now.Created != leaderOf(last).Created {
			since = e.Received
		}
		if !now.Proclaimed || last != nil && now.Created == leaderOf(last).Created {
			continue
		}
		if last != nil {
			all = append(all, c.change(last, e, since))
		}
		last, since = e, forever
	}
	return all
}

// change looks for what the last leader met with: the first fault in its term that was still in force when its key went, or healed so
// short a time before that the key still had to run out; where etcd had failed it may have been given its whole life anew.
func (c *court) change(last, next *history.Event, gone time.Duration) change {
	x := change{from: leaderOf(last).ID, to: leaderOf(next).ID, took: -1}
	began := forever
	for _, f := range c.faults {
		switch f.Code {
		case history.EffectKilled, history.EffectPaused, history.EffectCut:
		default:
			continue
		}
		s := faultSpan(f)
		if f.Replica != "" && f.Replica != x.from || s.from < last.Received || s.from > gone || s.to < gone-2*c.SessionTTL-time.Second {
			continue
		}
		x.store = x.store || f.Replica == ""
		began = min(began, s.from)
	}
	if began < forever {
		x.took = next.Received - began
	}
	return x
}
