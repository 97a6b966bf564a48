package judge

import (
	"fmt"
	"slices"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// versions judges S2.
func (c *court) versions() Check {
	k := c.check("S2", "versions never go back at a replica, and each has one value")
	type desk struct{ replica, token string }
	desks := map[desk][]*history.Event{}
	var order []desk
	for _, e := range c.answers {
		if e.Answer.Version == 0 { // no token, so no version
			continue
		}
		k.Judged++
		at := desk{e.Replica, e.Token}
		if desks[at] == nil {
			order = append(order, at)
		}
		desks[at] = append(desks[at], e)
	}
	for _, at := range order {
		c.monotone(k, c.replica[at.replica], desks[at])
	}
	for _, d := range c.dossiers {
		c.values(k, d)
	}
	return k.done()
}

// monotone judges the answers of one replica about one token, which are in the order in which they were sent. Two answers are compared
// if one had come before the other was asked for; callers share a clock, so that it does not matter who asked. The messages of one
// stream are compared in their order as well: a stream may be old, and so tells little of when its messages were sent.
func (c *court) monotone(k *tally, r *replica, sent []*history.Event) {
	received := slices.Clone(sent)
	slices.SortStableFunc(received, byReceived)
	newest := &newestAnswers{r: r}
	for _, e := range sent {
		// All that had come before this was asked for.
		for len(received) > 0 && received[0].Received < e.Sent {
			newest.add(received[0])
			received = received[1:]
		}
		newest.turn(r.life(e.Received))
		c.compare(k, newest, e)
	}
	told := map[stream]*history.Event{}
	slices.SortStableFunc(sent, byReceived)
	for _, e := range sent {
		if e.Kind != history.Watched {
			continue
		}
		if before := told[streamOf(e)]; before != nil && before.Answer.Version > e.Answer.Version {
			k.violate("the version went back within a stream", before, e)
		}
		told[streamOf(e)] = e
	}
}

// newestAnswers is the answers with the highest versions so far, of one process and of those before it.
type newestAnswers struct {
	r    *replica
	life int
	same *history.Event // of the process
	// stored is the one among them with a version that is no replica's own, and past of the processes before.
	stored, past *history.Event
	// lost is the newest of the processes before that had a version of its own.
	lost *history.Event
}

func (n *newestAnswers) add(e *history.Event) {
	n.turn(n.r.life(e.Received))
	n.same = newer(n.same, e)
	if !e.Answer.Local {
		n.stored = newer(n.stored, e)
	}
}

// turn goes on to another process.
func (n *newestAnswers) turn(life int) {
	if life == n.life {
		return
	}
	if n.same != nil && n.same.Answer.Local {
		n.lost = newer(n.lost, n.same)
	}
	n.past, n.same, n.stored, n.life = newer(n.past, n.stored), nil, nil, life
}

func newer(a, b *history.Event) *history.Event {
	if a == nil || b != nil && b.Answer.Version > a.Answer.Version {
		return b
	}
	return a
}

// compare judges an answer against the newest ones before it, of the same process and of its predecessors. A process takes a version of
// its own with it if it dies before it could tell the store.
func (c *court) compare(k *tally, n *newestAnswers, e *history.Event) {
	newer := func(than *history.Event) bool { return than != nil && than.Answer.Version > e.Answer.Version }
	switch {
	case newer(n.same):
		k.violate("the version went back", n.same, e)
	case newer(n.past):
		if _, heard := n.r.heard(e.Sent); heard {
			k.violate("the version went back over a restart", n.past, e)
			return
		}
		k.exclude("restarted, and etcd could not tell it the version yet", "the version went back", n.past, e)
	case newer(n.lost):
		k.exclude("a process took a version of its own with it", "the version went back over a restart", n.lost, e)
	}
}

// values judges that a version of a token has one value wherever it was seen, that only such versions are answered as stood in etcd,
// but for those that a replica made up for what it fetched alone, and that a value has one version but for those.
func (c *court) values(k *tally, d *dossier) {
	known := map[int64]*history.Event{}
	meet := func(e *history.Event, version int64, value string) {
		if value == "" || version == 0 {
			return
		}
		first := known[version]
		if first == nil {
			known[version] = e
			return
		}
		if valueOf(first) != value {
			k.violate(fmt.Sprintf("version %d has two values", version), first, e)
		}
	}
	for _, w := range d.writes {
		k.Judged++
		meet(w.event, w.Version, w.Value)
	}
	for _, e := range d.reads {
		if e.Stored != nil {
			meet(e, e.Stored.Version, e.Stored.Value)
		}
	}
	for _, e := range c.answers {
		if e.Token != d.Name {
			continue
		}
		meet(e, e.Answer.Version, e.Answer.Value)
		if known[e.Answer.Version] == e && len(d.writes) > 0 { // nobody saw it in etcd
			c.homemade(k, d, e)
		}
	}
	d.alone(k, known)
}

// valueOf is the value in an answer or a record.
func valueOf(e *history.Event) string {
	if e.Answer != nil {
		return e.Answer.Value
	}
	return e.Stored.Value
}

// homemade judges an answer with a version that did not stand in etcd.
func (c *court) homemade(k *tally, d *dossier, e *history.Event) {
	switch {
	case d.Rotating:
		k.violate("the version never stood in etcd", e)
	case e.Answer.Local:
	case e.Received >= d.seenTo:
		k.exclude("etcd was not looked at any more", "a version that was not seen in etcd", e)
	default:
		k.violate("the version never stood in etcd, and the answer does not say that it is local", e)
	}
}

// alone judges how many versions a value has: one, and beside it only those that replicas made up for what they fetched alone, and
// those that a commit raised above such a one. Only idempotent upstreams know any.
func (d *dossier) alone(k *tally, known map[int64]*history.Event) {
	numbers := make([]int64, 0, len(known))
	for version := range known {
		numbers = append(numbers, version)
	}
	slices.Sort(numbers)
	seen, ordinary := map[string]*history.Event{}, map[string]*history.Event{}
	for _, version := range numbers {
		e := known[version]
		value := valueOf(e)
		i, stood := d.versions[version]
		extra := !stood || d.writes[i].step == above || i > 0 && d.writes[i-1].Floor > 0
		switch {
		case !extra && ordinary[value] != nil:
			k.violate("one value has two versions", ordinary[value], e)
		case seen[value] != nil:
			k.exclude("a replica fetched it alone under a version of its own, or a commit went above such a one", "one value has two versions", seen[value], e)
		}
		if seen[value] = e; !extra {
			ordinary[value] = e
		}
	}
}
