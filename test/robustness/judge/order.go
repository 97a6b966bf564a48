package judge

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// portion is about how many operations are given to porcupine at once: its memory grows with their square.
const portion = 512

// order judges, token by token, whether what was seen of the record in etcd can have happened one after another, by steps that the
// protocol knows.
func (c *court) order() Check {
	k := c.check("M", "what stood in etcd has an order, in which each step is one of the protocol's")
	for _, d := range c.dossiers {
		c.linearize(k, d)
	}
	return k.done()
}

// operation is one write, or one read, of a token's record.
type operation struct {
	found *history.Stored // nil if there is no record
	after int64           // for a write: the revision that it replaces
	write bool
	event *history.Event
}

// linearize judges one token's record. Where at some moment nothing is under way, what was before it is judged by itself: its outcome
// is known, since writes have an order of their own.
func (c *court) linearize(k *tally, d *dossier) {
	deadline := time.Now().Add(c.Patience)
	operations := d.operations(k)
	slices.SortStableFunc(operations, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var from *history.Stored // the record as the part before left it
	for len(operations) > 0 {
		n := quiet(operations)
		part := operations[:n]
		operations = operations[n:]
		model := d.model(from)
		switch result := porcupine.CheckOperationsTimeout(model, part, max(time.Until(deadline), time.Millisecond)); result {
		case porcupine.Ok:
		case porcupine.Unknown: // whoever cannot show that it was right has not passed
			k.violate(fmt.Sprintf("%s: undecided: no order was found in %v for the %d operations of this part", d.Name, c.Patience, n), eventsOf(part[:min(n, 2)])...)
		case porcupine.Illegal:
			what, events := d.explain(part)
			k.violate(d.Name+": "+what, events...)
		}
		from = lastOf(part, from)
	}
}

// operations returns what is to be ordered. Of the reads that found one revision the one that was sent last and the one that was answered
// first say all that the others say, if they found the same: the others can be put beside these.
func (d *dossier) operations(k *tally) []porcupine.Operation {
	k.Judged += len(d.writes) + len(d.reads)
	all := make([]porcupine.Operation, 0, len(d.writes))
	after := int64(0)
	for _, w := range d.writes {
		all = append(all, porcupine.Operation{
			Input: operation{found: w.event.Stored, after: after, write: true, event: w.event}, Call: int64(w.from), Return: int64(w.to),
		})
		after = w.Revision
	}
	type pair struct{ lastSent, firstAnswered *history.Event }
	extremes := map[history.Stored]*pair{}
	for _, e := range d.reads {
		var found history.Stored
		if e.Stored != nil {
			found = *e.Stored
		}
		p := extremes[found]
		switch {
		case found.Revision > after:
			k.exclude("the watch had ended", "a read that found what the watch did not tell", e)
		case p == nil:
			extremes[found] = &pair{e, e}
		default:
			if e.Sent > p.lastSent.Sent {
				p.lastSent = e
			}
			if e.Received < p.firstAnswered.Received {
				p.firstAnswered = e
			}
		}
	}
	for _, p := range extremes {
		all = append(all, readOperation(p.lastSent))
		if p.firstAnswered != p.lastSent {
			all = append(all, readOperation(p.firstAnswered))
		}
	}
	return all
}

func readOperation(e *history.Event) porcupine.Operation {
	return porcupine.Operation{Input: operation{found: e.Stored, event: e}, Call: int64(e.Sent), Return: int64(e.Received)}
}

// quiet returns after how many operations, which are in the order of their calls, nothing is under way; portion at least, if there are
// so many.
func quiet(operations []porcupine.Operation) int {
	until := operations[0].Return
	for n, o := range operations {
		if n >= portion && o.Call > until {
			return n
		}
		until = max(until, o.Return)
	}
	return len(operations)
}

// model is the record under the rules of the protocol, from a record on. Its state is the record itself, nil if there is none; no
// operation changes it in place.
func (d *dossier) model(from *history.Stored) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return from },
		Step: func(state, input, _ any) (bool, any) {
			next, why := d.apply(stateOf(state), operationOf(input))
			return why == "", next
		},
		Equal: func(a, b any) bool { return same(stateOf(a), stateOf(b)) },
	}
}

// stateOf and operationOf undo what porcupine's interfaces do to types.
func stateOf(state any) *history.Stored { s, _ := state.(*history.Stored); return s }
func operationOf(input any) operation   { o, _ := input.(operation); return o }

// apply makes one operation on a record. It returns the record after it, or says why that cannot be.
func (d *dossier) apply(state *history.Stored, o operation) (*history.Stored, string) {
	if !o.write {
		return state, only(same(state, o.found), "a read found what did not stand there")
	}
	if at := revisionOf(state); at != o.after || revisionOf(o.found) <= at {
		return state, "a write is out of order"
	}
	_, why := d.rules.classify(state, o.found)
	return o.found, why
}

func same(a, b *history.Stored) bool { return a == b || a != nil && b != nil && *a == *b }

func revisionOf(s *history.Stored) int64 {
	if s == nil {
		return 0
	}
	return s.Revision
}

// lastOf returns the record as a part of the history leaves it.
func lastOf(part []porcupine.Operation, from *history.Stored) *history.Stored {
	for _, o := range part {
		if op := operationOf(o.Input); op.write && revisionOf(op.found) > revisionOf(from) {
			from = op.found
		}
	}
	return from
}
