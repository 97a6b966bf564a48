package judge

import (
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Figures are numbers about a case. They pass and fail nothing.
type Figures struct {
	// Answers counts events by kind, and by the state that was answered or the code of the failure: "get active".
	Answers map[string]int `json:"answers"`
	// Faults counts faults by their effect.
	Faults map[string]int `json:"faults"`
	// Refreshes is by token.
	Refreshes map[string]Refreshes `json:"refreshes"`
	// Failovers are the changes of leaders because something had happened to the leader alone, counted from then until the next one had
	// proclaimed itself; StoreFailovers those because etcd had failed; HandOvers counts all others.
	Failovers      Distribution `json:"failovers"`
	StoreFailovers Distribution `json:"store_failovers"`
	HandOvers      int          `json:"hand_overs"`
	// Unserved is, by replica, the longest time in which calls that were sent while its process was well brought no token, from the
	// sending of the first to the answer to the next one that did; Unpromised in which they brought none that was active.
	Unserved   map[string]time.Duration `json:"unserved"`
	Unpromised map[string]time.Duration `json:"unpromised"`
	// Recovery is the time from the end of the last fault until the last replica promised all tokens for good; negative if it is not
	// known.
	Recovery time.Duration `json:"recovery"`
}

// Refreshes is what was done to keep one token.
type Refreshes struct {
	// Attempts counts them by their causes, Steps all writes of the record by the step of the protocol.
	Attempts map[string]int `json:"attempts"`
	Steps    map[string]int `json:"steps"`
	// Issued is how many tokens WeChat issued to the brokers, Foreign to others.
	Issued  int `json:"issued"`
	Foreign int `json:"foreign"`
}

// Distribution sums up durations.
type Distribution struct {
	N      int           `json:"n"`
	Median time.Duration `json:"median"`
	P99    time.Duration `json:"p99"`
	Max    time.Duration `json:"max"`
}

// distribution sorts its argument.
func distribution(all []time.Duration) Distribution {
	if len(all) == 0 {
		return Distribution{}
	}
	slices.Sort(all)
	rank := func(percent int) time.Duration { return all[(len(all)*percent+99)/100-1] }
	return Distribution{N: len(all), Median: rank(50), P99: rank(99), Max: all[len(all)-1]}
}

func (c *court) figures() Figures {
	f := Figures{
		Answers: map[string]int{}, Faults: map[string]int{}, Refreshes: map[string]Refreshes{},
		Unserved: map[string]time.Duration{}, Unpromised: map[string]time.Duration{},
	}
	for i := range c.Events {
		switch e := &c.Events[i]; {
		case e.Kind == history.Fault:
			f.Faults[e.Code]++
		case e.Answer != nil && e.Kind != history.Used:
			f.Answers[string(e.Kind)+" "+e.Answer.State]++
		case e.Code != "" && e.Kind != history.Process:
			f.Answers[string(e.Kind)+" "+e.Code]++
		}
	}
	for _, d := range c.dossiers {
		f.Refreshes[d.Name] = c.refreshes(d)
	}
	c.leaders(&f)
	for _, r := range c.replicas {
		f.Unserved[r.id] = c.longest(r, served)
		f.Unpromised[r.id] = c.longest(r, func(e *history.Event) bool { return served(e) && e.Answer.State == active })
	}
	f.Recovery = c.recoveryTime()
	return f
}

// refreshes counts what was done for one token.
func (c *court) refreshes(d *dossier) Refreshes {
	n := Refreshes{Attempts: map[string]int{}, Steps: map[string]int{}}
	orders := &orders{open: c.ordersFor(d)}
	for i, w := range d.writes {
		n.Steps[string(w.step)]++
		if w.step == begin {
			n.Attempts[c.causeOf(d, i, orders)]++
		}
	}
	for _, t := range d.issued {
		if t.Foreign {
			n.Foreign++
		} else {
			n.Issued++
		}
	}
	return n
}

// leaders sorts the changes of leaders by what brought them about.
func (c *court) leaders(f *Figures) {
	var alone, store []time.Duration
	for _, x := range c.changes() {
		switch {
		case x.took < 0:
			f.HandOvers++
		case x.store:
			store = append(store, x.took)
		default:
			alone = append(alone, x.took)
		}
	}
	f.Failovers, f.StoreFailovers = distribution(alone), distribution(store)
}

// longest is the longest time in which calls at a replica were not answered well, for any token.
func (c *court) longest(r *replica, well func(*history.Event) bool) time.Duration {
	var longest time.Duration
	since := map[string]time.Duration{}
	for _, e := range c.gets {
		if e.Replica != r.id || e.MinTTL > 0 || codeIs(e.Code, "canceled") || r.away.touch(span{e.Sent, e.Received}) {
			continue
		}
		from, ill := since[e.Token]
		switch {
		case well(e):
			delete(since, e.Token)
		case !ill:
			from, ill = e.Sent, true
			since[e.Token] = from
		}
		if ill {
			longest = max(longest, e.Received-from)
		}
	}
	return longest
}

// recoveryTime is the time from the end of the last fault to lasting health everywhere; negative if it is not known.
func (c *court) recoveryTime() time.Duration {
	if c.healed < 0 {
		return -1
	}
	var slowest time.Duration
	for _, r := range c.replicas {
		for _, d := range c.dossiers {
			_, good := c.health(c.check("", ""), r, d, forever)
			if good == nil {
				return -1
			}
			slowest = max(slowest, good.Received-c.healed)
		}
	}
	return slowest
}
