package judge

import (
	"cmp"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Judge judges a case. It takes seconds for a million events.
func Judge(c Case) Verdict {
	t := open(c.withDefaults())
	v := Verdict{Checks: []Check{
		t.form(), t.promises(), t.versions(), t.order(), t.availability(), t.recovery(), t.fetches(), t.leadership(),
	}}
	v.Figures = t.figures()
	return v
}

// court is a case, sorted by what the checks need.
type court struct {
	Case
	replicas []*replica // in the order of Case.Replicas
	dossiers []*dossier // in the order of Case.Tokens

	replica map[string]*replica
	dossier map[string]*dossier
	// answers is every event with a token in it, gets every GetToken, in the order in which they were sent, about known replicas and
	// tokens.
	answers, gets []*history.Event
	// etcd is every change of a record and of the election, in the order in which the watch told of them: that of their revisions.
	etcd   []*history.Event
	orders []*history.Event // of operators to refresh
	faults []*history.Event
	terms  map[int64]string // who stood for election, by the create revision
	healed time.Duration    // the end of the last fault; negative: the history does not tell
	end    time.Duration    // when the last GetToken was answered
}

// open sorts a case.
func open(c Case) *court {
	t := &court{Case: c, replica: map[string]*replica{}, dossier: map[string]*dossier{}, terms: map[int64]string{}, healed: -1}
	for _, token := range c.Tokens {
		d := newDossier(token)
		t.dossiers, t.dossier[token.Name] = append(t.dossiers, d), d
	}
	var troubles []*history.Event
	reads := map[string][]*history.Event{}
	for i := range c.Events {
		switch e := &c.Events[i]; e.Kind {
		case history.Fault:
			t.faults = append(t.faults, e)
			troubles = append(troubles, e)
		case history.Process:
			troubles = append(troubles, e)
		case history.Healed:
			t.healed = max(t.healed, e.Received)
		case history.Election, history.Record:
			t.etcd = append(t.etcd, e)
		case history.Read:
			reads[e.Token] = append(reads[e.Token], e)
		default: // see hear
		}
	}
	t.seat(troubles)
	t.file(reads)
	for i := range c.Events {
		t.hear(&c.Events[i])
	}
	for _, list := range [][]*history.Event{t.answers, t.gets, t.orders} {
		slices.SortStableFunc(list, bySent)
	}
	return t
}

func bySent(a, b *history.Event) int     { return cmp.Compare(a.Sent, b.Sent) }
func byReceived(a, b *history.Event) int { return cmp.Compare(a.Received, b.Received) }

// seat makes the replicas.
func (c *court) seat(troubles []*history.Event) {
	for _, id := range c.Replicas {
		r := newReplica(id, troubles)
		c.replicas, c.replica[id] = append(c.replicas, r), r
	}
}

// file fills the dossiers.
func (c *court) file(reads map[string][]*history.Event) {
	issued := map[string][]*history.Issued{}
	for i := range c.Issued {
		issued[c.Issued[i].Token] = append(issued[c.Issued[i].Token], &c.Issued[i])
	}
	slices.SortStableFunc(c.etcd, byReceived)
	records := map[string][]*history.Event{}
	for _, e := range c.etcd {
		if e.Kind == history.Record {
			records[e.Token] = append(records[e.Token], e)
		}
		for _, k := range e.Candidates {
			c.terms[k.Created] = k.ID
		}
	}
	for _, d := range c.dossiers {
		d.issue(issued[d.Name])
		d.observe(records[d.Name], reads[d.Name])
	}
}

// hear sorts what concerns answers.
func (c *court) hear(e *history.Event) {
	if c.replica[e.Replica] == nil || c.dossier[e.Token] == nil {
		return
	}
	switch e.Kind {
	case history.Get:
		c.gets = append(c.gets, e)
		c.end = max(c.end, e.Received)
	case history.Refresh:
		c.orders = append(c.orders, e)
	case history.Watched, history.Report, history.List, history.Status:
	default:
		return
	}
	if e.Answer != nil {
		c.answers = append(c.answers, e)
	}
}
