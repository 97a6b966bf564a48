package judge

import (
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// explain says in words why operations have no order, with the events that show it. porcupine tells only that there is none.
func (d *dossier) explain(part []porcupine.Operation) (string, []*history.Event) {
	for _, o := range part {
		op := operationOf(o.Input)
		i := d.find(op)
		switch {
		case !op.write || d.writes[i].step != illegal:
		case i > 0:
			return "a write is no step of the protocol: " + d.writes[i].why, []*history.Event{d.writes[i-1].event, op.event}
		default:
			return "a write is no step of the protocol: " + d.writes[i].why, []*history.Event{op.event}
		}
	}
	for _, o := range part {
		op := operationOf(o.Input)
		i := d.find(op)
		switch {
		case op.write:
		case i < 0 && op.found != nil || i >= 0 && !same(d.writes[i].event.Stored, op.found):
			return "a read found what was never written", []*history.Event{op.event}
		case i+1 < len(d.writes) && d.writes[i+1].to < op.event.Sent:
			return fmt.Sprintf("a read found what had been replaced %s before it was sent", rounded(op.event.Sent-d.writes[i+1].to)),
				[]*history.Event{d.writes[i+1].event, op.event}
		}
	}
	return "what was seen has no order", eventsOf(part)
}

// find returns the write that an operation made or should have found: the last one with its revision or a lower one; -1 if there is
// none.
func (d *dossier) find(op operation) int {
	if op.write {
		return slices.IndexFunc(d.writes, func(w write) bool { return w.event == op.event })
	}
	n, _ := slices.BinarySearchFunc(d.writes, revisionOf(op.found), func(w write, revision int64) int {
		if w.Revision <= revision {
			return -1
		}
		return 1
	})
	return n - 1
}

// eventsOf returns the events behind operations.
func eventsOf(operations []porcupine.Operation) []*history.Event {
	events := make([]*history.Event, len(operations))
	for i, o := range operations {
		events[i] = operationOf(o.Input).event
	}
	return events
}
