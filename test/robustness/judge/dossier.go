package judge

import (
	"cmp"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// dossier is what is known of one token beside answers: what WeChat issued, and what stood in etcd.
type dossier struct {
	Token
	rules  rules
	issued []*history.Issued // in order
	index  map[string]int    // of a value in issued
	writes []write           // in the order of their revisions
	reads  []*history.Event
	// commits is the write that first committed a value, versions the one that first had a version, with a value.
	commits  map[string]int
	versions map[int64]int
	seenTo   time.Duration // the last look at etcd
	// unsettled is the attempts whose outcome was never written.
	unsettled []write
	// late keeps what lateness has found.
	late map[*history.Issued]time.Duration
}

// write is one revision of a record.
type write struct {
	*history.Stored
	event *history.Event
	step  step
	why   string // it is illegal
	// from and to bound the time of the transaction.
	from, to time.Duration
	// commit is the last commit, this one included; -1 if there was none.
	commit int
}

func newDossier(t Token) *dossier {
	return &dossier{
		Token: t.withDefaults(), rules: rules{rotating: t.Rotating},
		index: map[string]int{}, commits: map[string]int{}, versions: map[int64]int{}, late: map[*history.Issued]time.Duration{},
	}
}

// issue adds what WeChat issued for the token, in any order.
func (d *dossier) issue(all []*history.Issued) {
	d.issued = all
	slices.SortStableFunc(all, func(a, b *history.Issued) int { return cmp.Compare(a.From, b.From) })
	for i, t := range all {
		d.index[t.Value] = i
	}
}

// observe adds what was seen of the record in etcd. records are in the order in which the watch told of them.
func (d *dossier) observe(records, reads []*history.Event) {
	d.reads = reads
	last := -1
	var old *history.Stored
	for i, e := range records {
		w := write{Stored: e.Stored, event: e, to: e.Received, commit: last}
		if w.step, w.why = d.rules.classify(old, e.Stored); e.Stored == nil {
			w.Stored = &history.Stored{Revision: revisionOf(old) + 1} // at least that
		}
		if old != nil && w.Revision <= old.Revision { // what etcd never does
			w.step, w.why = illegal, "its revision is not above the last one's"
		}
		if w.step == commit {
			last, w.commit = i, i
			d.first(w.Value, i)
		}
		// A version may stand without a value first: raised above what a store has lost.
		if _, known := d.versions[w.Version]; !known && w.Value != "" {
			d.versions[w.Version] = i
		}
		d.writes = append(d.writes, w)
		d.seenTo = max(d.seenTo, w.to)
		old = w.Stored
	}
	for _, e := range reads {
		d.seenTo = max(d.seenTo, e.Received)
	}
	d.bound()
	d.unsettled = d.neverSettled()
}

func (d *dossier) first(value string, i int) {
	if _, known := d.commits[value]; !known {
		d.commits[value] = i
	}
}

// bound narrows down when each write happened: before the watch told of it and before the answer of any read that found it or a later
// one; after the sending of any read that found an earlier one. Nothing is assumed about the order of writes and reads that does not
// follow from linearizability; whether they have an order at all is what porcupine decides.
func (d *dossier) bound() {
	earliest, latest := map[int64]time.Duration{}, map[int64]time.Duration{} // by revision: the first answer, the last sending
	for _, e := range d.reads {
		rev := revision(e)
		if at, ok := earliest[rev]; !ok || e.Received < at {
			earliest[rev] = e.Received
		}
		latest[rev] = max(latest[rev], e.Sent)
	}
	to := forever
	for i := len(d.writes) - 1; i >= 0; i-- {
		w := &d.writes[i]
		if at, ok := earliest[w.Revision]; ok {
			to = min(to, at)
		}
		to = min(to, w.to)
		w.to = to
	}
	from := latest[0]
	for i := range d.writes {
		w := &d.writes[i]
		w.from = min(from, w.to)
		from = max(from+1, latest[w.Revision]) // no two writes happen in one nanosecond
	}
}

// revision is what a read found; 0 if there was no record.
func revision(e *history.Event) int64 {
	if e.Stored == nil {
		return 0
	}
	return e.Stored.Revision
}

// writtenBy returns the number of writes that had surely happened by a moment.
func (d *dossier) writtenBy(at time.Duration) int {
	n, _ := slices.BinarySearchFunc(d.writes, at, func(w write, at time.Duration) int {
		if w.to <= at {
			return -1
		}
		return 1
	})
	return n
}

// lookup returns what WeChat says of a value; nil if it has not issued it for this token.
func (d *dossier) lookup(value string) *history.Issued {
	if i, ok := d.index[value]; ok {
		return d.issued[i]
	}
	return nil
}
