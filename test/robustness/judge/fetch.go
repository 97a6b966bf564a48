package judge

import (
	"fmt"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// fetches judges Q1.
func (c *court) fetches() Check {
	k := c.check("Q1", "each attempt has a cause, its distance to the last, a place in the budget, and issues one token at most")
	for _, d := range c.dossiers {
		orders := &orders{open: c.ordersFor(d)}
		last := -1 // the last attempt
		for i, w := range d.writes {
			if w.step != begin {
				continue
			}
			k.Judged++
			c.justified(k, d, i, orders)
			c.distant(k, d, last, i)
			if d.DailyBudget > 0 && w.Fetches > d.DailyBudget {
				k.violate(fmt.Sprintf("the %d. fetch of the day, where %d are allowed", w.Fetches, d.DailyBudget), w.event)
			}
			last = i
		}
		c.matched(k, d)
		c.asked(k, d)
	}
	return k.done()
}

// Why attempts are begun. The terms of the protocol's bound on their number are found again in these: the first one, and one after a loss
// of the store (none); lost answers, changes of leaders amid an attempt, and late requests (unsettled); confirmed reports (dead); lone
// fetches (alone); scheduled ones, their repetition after a refusal, and after an idempotent upstream answered with the same token
// because it was asked too early, the missed windows (due); operators' orders (order).
const (
	causeNone      = "there was no token"
	causeUnsettled = "an attempt was never settled"
	causeDead      = "the token was known to be dead"
	causeAlone     = "a replica had fetched alone"
	causeDue       = "the token neared its end"
	causeOrder     = "an operator's order"
	causeClock     = "A4: a wrong wall clock made it seem due"
	causeUnknown   = "nothing called for it"
)

// orderLife is how long an operator's order waits for a leader: the broker leaves it in etcd for so long.
const orderLife = 10 * time.Minute

// ordersFor returns the orders to refresh a token, in the order in which they were given.
func (c *court) ordersFor(d *dossier) []*history.Event {
	var orders []*history.Event
	for _, e := range c.orders {
		if e.Token == d.Name {
			orders = append(orders, e)
		}
	}
	return orders
}

// orders are those of the operator for one token, as attempts use them up.
type orders struct {
	open []*history.Event
	// last is the one that served last, for an attempt of a term.
	last *history.Event
	term int64
}

// serve reports whether an order called for an attempt. One serves for one attempt, and for one of each later leader: its predecessor may
// have ended before it could take the order out of etcd.
func (o *orders) serve(w write) bool {
	for len(o.open) > 0 && o.open[0].Sent <= w.to {
		o.last, o.term = o.open[0], w.Term
		o.open = o.open[1:]
		if w.from-o.last.Sent <= orderLife {
			return true
		}
	}
	if o.last == nil || o.term == w.Term || w.from-o.last.Sent > orderLife {
		return false
	}
	o.term = w.Term
	return true
}

// justified judges that an attempt was called for.
func (c *court) justified(k *tally, d *dossier, i int, orders *orders) {
	switch cause := c.causeOf(d, i, orders); cause {
	case causeUnknown:
		k.violate("an attempt that nothing called for", d.writes[i].event)
	case causeClock:
		k.exclude(cause, "an attempt that nothing called for", d.writes[i].event)
	}
}

// causeOf says why an attempt was begun. What stands in the record comes first; the time of day, which is known less exactly, after
// that; an order, which may have come by chance, last.
func (c *court) causeOf(d *dossier, i int, orders *orders) string {
	if i == 0 {
		return causeNone
	}
	old, w := d.writes[i-1], d.writes[i]
	switch {
	case old.Value == "":
		return causeNone
	case old.Attempt != "" || old.Doubt:
		return causeUnsettled
	case old.Condemned:
		return causeDead
	case old.Floor > 0:
		return causeAlone
	}
	t, r := d.lookup(old.Value), c.replica[c.terms[w.Term]]
	if t == nil {
		return causeUnknown
	}
	// The spread of refreshes makes those of rotating tokens earlier by up to a tenth.
	due := t.Ends - d.Ahead
	if d.Rotating {
		due -= d.Ahead / 10
	}
	if r == nil { // nobody knows who led: allow for the worst
		due -= hearTime + d.Timing.G + max(d.Timing.D, d.Timing.F) + time.Second + c.Skew
	} else {
		due -= c.early(d, r, t, w.to)
	}
	if w.to >= due {
		return causeDue
	}
	if orders.serve(w) {
		return causeOrder
	}
	if r != nil && (r.skewed.touch(span{t.From, w.to}) || c.wrongClock(d, r, t, w.to)) {
		return causeClock
	}
	return causeUnknown
}
