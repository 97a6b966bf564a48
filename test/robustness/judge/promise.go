package judge

import (
	"fmt"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// The states of an answer.
const (
	active  = "active"
	suspect = "suspect"
	expired = "expired"
)

// stream is one WatchToken.
type stream struct {
	actor, replica, token string
	opened                time.Duration
}

func streamOf(e *history.Event) stream { return stream{e.Actor, e.Replica, e.Token, e.Sent} }

// promises judges S1.
func (c *court) promises() Check {
	k := c.check("S1", "a token answered as active is alive at WeChat for its ttl")
	anchors := map[stream]time.Duration{}
	for _, e := range c.answers {
		d, a := c.dossier[e.Token], e.Answer
		if why := d.misshapen(e); why != "" {
			k.Judged++
			k.violate(why, e)
			continue
		}
		if a.Value == "" || a.State != active { // a list tells no value: what it promises, GetToken promised too
			continue
		}
		k.Judged++
		t := d.lookup(a.Value)
		switch {
		case t == nil:
			k.violate("WeChat has never issued it for this token", e)
			continue
		case t.From > e.Received:
			k.violate(fmt.Sprintf("WeChat issued it %v after the answer", t.From-e.Received), e)
			continue
		}
		anchor := e.Sent // see the package documentation, here and for excuse
		if e.Kind == history.Watched {
			anchor = max(anchors[streamOf(e)], e.Sent, t.From)
			anchors[streamOf(e)] = anchor
		}
		over := anchor + a.TTL - t.Until
		if over <= 0 {
			continue
		}
		what := fmt.Sprintf("promised %s too long", rounded(over))
		if cause := c.excuse(d, e, t, anchor); cause != "" {
			k.exclude(cause, what, e)
		} else {
			k.violate(what+": "+d.obituary(a.Value), e)
		}
	}
	return k.done()
}

// misshapen says what is wrong with an answer whatever else is true; "" if nothing.
func (d *dossier) misshapen(e *history.Event) string {
	a := e.Answer
	handsOut := e.Kind == history.Get || e.Kind == history.Report || e.Kind == history.Watched
	switch a.State {
	case active:
		if a.TTL <= 0 {
			return "active, and promises nothing"
		}
		if a.TTL > d.longest() {
			return fmt.Sprintf("promises more than the %v that can ever be promised", d.longest())
		}
	case suspect:
		if a.TTL != 0 {
			return "suspect, and promises a life"
		}
	case expired:
		switch {
		case a.Value != "":
			return "expired, and has a value"
		case a.TTL != 0:
			return "expired, and promises a life"
		case handsOut && e.Kind != history.Watched:
			return "expired, where only a usable token may be answered"
		}
		return ""
	default:
		return "in a state that there is not"
	}
	if handsOut && a.Value == "" {
		return "there is no token in it"
	}
	return ""
}

// excuse says which of the causes that the protocol excludes made a promise on t too long; "" if none did. anchor is the earliest
// moment at which the promise can have been made.
func (c *court) excuse(d *dossier, e *history.Event, t *history.Issued, anchor time.Duration) string {
	r, x := c.replica[e.Replica], d.deathOf(t.Value)
	unheard := d.mayBelieve(r, t.Value, span{anchor, e.Received}, e.Answer.Local)
	switch {
	case x.cause == natural && c.wrongClock(d, r, t, e.Received):
		return "A4: a wall clock was wrong, and the replica had nothing else to count by"
	case x.foreign() && unheard:
		return "A1: somebody else fetched, and the replica could not know"
	case x.cause == killed && unheard:
		return "the suite had WeChat kill it, and the replica could not know"
	case x.cause == forced && !x.foreign() && unheard:
		return "a forced refresh, of whose beginning the replica may not have heard"
	case x.cause == rotated && anchor+e.Answer.TTL <= c.excusedTo(d, x):
		return "A3: the leader stood still for more than P before it wrote the request"
	}
	return ""
}

// obituary tells how a value ended.
func (d *dossier) obituary(value string) string {
	t, x := d.lookup(value), d.deathOf(value)
	at := fmt.Sprintf("issued at %s, it died at %s", rounded(t.From), rounded(t.Until))
	switch x.cause {
	case natural:
		return at + " of old age"
	case rotated:
		return at + fmt.Sprintf(", rotated away by %d fetches, the last at %s", len(x.by), rounded(x.by[len(x.by)-1].From))
	case forced:
		return at + " by a forced refresh"
	case killed:
		return at + " by the suite"
	default:
		return at
	}
}
