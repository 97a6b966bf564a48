package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// availability judges A1, and that no process ends by itself: its failures would be excused by its absence.
func (c *court) availability() Check {
	k := c.check("A1", "a replica that holds a living token never fails GetToken")
	held := c.holdings()
	for _, e := range c.gets {
		if e.MinTTL > 0 { // by contract it may fail
			continue
		}
		k.Judged++
		if !served(e) {
			c.failed(k, e, held)
		}
	}
	for _, r := range c.replicas {
		for _, e := range r.ended {
			// When callers have gone the suite ends everything.
			if e.Sent < c.end && !r.killed.touch(span{e.Sent, e.Received}) {
				k.violate("the process ended by itself", e)
			}
		}
	}
	return k.done()
}

// served reports whether a call brought a token that can be used.
func served(e *history.Event) bool { return e.Code == "OK" && e.Answer != nil && e.Answer.Value != "" }

// codeIs compares the names of gRPC codes, in whichever of their spellings.
func codeIs(code, name string) bool {
	return strings.EqualFold(strings.ReplaceAll(code, "_", ""), name) || name == "canceled" && strings.EqualFold(code, "cancelled")
}

// failed judges a GetToken that brought no token. What the replica could do nothing about comes first; then what it held.
func (c *court) failed(k *tally, e *history.Event, held *holdings) {
	r, during := c.replica[e.Replica], span{e.Sent, e.Received}
	switch {
	case codeIs(e.Code, "canceled"):
		k.exclude("the caller went away", "a call failed", e)
		return
	case r.down.touch(during):
		k.exclude("there was no process", "a call failed", e)
		return
	case r.paused.touch(during):
		k.exclude("the process stood still", "a call failed", e)
		return
	case e.Reason == "" && (codeIs(e.Code, "unavailable") || codeIs(e.Code, "deadlineexceeded")) && r.away.touch(during):
		k.exclude("the caller had no connection to the process, or not yet again", "a call failed", e)
		return
	}
	t := held.by(e)
	if t == nil {
		k.exclude("the replica need not have known of any token", "a call failed", e)
		return
	}
	d := c.dossier[e.Token]
	end := t.Ends - c.early(d, r, t, e.Sent)
	switch {
	// Dead before its time, and so perhaps condemned; the replica need not say so, but it may.
	case t.Until <= e.Received:
		k.exclude("the token that the replica held was dead", "a call failed", e)
	case end <= e.Received:
		k.exclude("the token that the replica held was past its end as the replica may count it", "a call failed", e)
	case r.skewed.touch(span{t.From, e.Received}) || c.wrongClock(d, r, t, e.Received):
		k.exclude("the replica's clock was wrong, or jumped", "a call failed", e)
	default:
		k.violate(fmt.Sprintf("it held a token that lives %s longer", rounded(end-e.Received)), e)
	}
}

// early is by how much earlier than WeChat a replica may, at a moment, take a token to end. One that was in contact counts from its last proof
// before the attempt began, and the stated life is in whole seconds; any other counts by wall clocks, less the tolerated skew.
func (c *court) early(d *dossier, r *replica, t *history.Issued, at time.Duration) time.Duration {
	early := hearTime + d.Timing.G + max(d.Timing.D, d.Timing.F) + time.Second
	if !c.fresh(d, r, t, at) {
		early += c.Skew
	}
	return early
}

// holdings follows which token each replica holds, through calls in the order in which they were sent.
type holdings struct {
	c     *court
	told  []*history.Event // answers with a value, in the order in which they came
	desks map[[2]string]*history.Event
}

func (c *court) holdings() *holdings {
	h := &holdings{c: c, desks: map[[2]string]*history.Event{}}
	for _, e := range c.answers {
		if e.Answer.Value != "" {
			h.told = append(h.told, e)
		}
	}
	slices.SortStableFunc(h.told, byReceived)
	return h
}

// by returns the token that the replica must have held when a call was sent: of what its process had answered, and what stood in etcd
// and it must have heard of, the one with the higher version. nil if there is none. Calls must come in the order of their sending.
func (h *holdings) by(e *history.Event) *history.Issued {
	for len(h.told) > 0 && h.told[0].Received < e.Sent {
		h.add(h.told[0])
		h.told = h.told[1:]
	}
	r, d := h.c.replica[e.Replica], h.c.dossier[e.Token]
	value, version := "", int64(0)
	if before := h.desks[[2]string{e.Replica, e.Token}]; before != nil && r.life(before.Received) == r.life(e.Sent) {
		value, version = before.Answer.Value, before.Answer.Version
	}
	if upTo, ok := r.heard(e.Sent); ok {
		if n := d.writtenBy(upTo); n > 0 && d.writes[n-1].Version > version {
			value = d.writes[n-1].Value
		}
	}
	return d.lookup(value)
}

// add takes in an answer. A new process begins with what it says itself.
func (h *holdings) add(e *history.Event) {
	at := [2]string{e.Replica, e.Token}
	before, r := h.desks[at], h.c.replica[e.Replica]
	if before == nil || e.Answer.Version >= before.Answer.Version || r.life(before.Received) != r.life(e.Received) {
		h.desks[at] = e
	}
}
