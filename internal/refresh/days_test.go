package refresh_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

var (
	seedFlag = flag.Uint64("refresh.seed", 0, "run the simulated days of this seed only")
	daysFlag = flag.Int("refresh.days", simulatedDays, "how many days to simulate in all")
)

const daysASeed = 50

// TestNoTokenIsLostInAThousandDays lets three replicas keep a rotating and an idempotent token through random faults. After every
// reading the judge knows what was promised; at the end it says whether every promise was kept.
func TestNoTokenIsLostInAThousandDays(t *testing.T) {
	if *seedFlag != 0 {
		simulate(t, *seedFlag, daysASeed)
		return
	}
	for seed := uint64(1); seed <= uint64(max(1, *daysFlag/daysASeed)); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, seed, daysASeed)
		})
	}
}

// again says how to repeat a failure.
func again(seed uint64) string {
	return fmt.Sprintf("repeat with: go test ./internal/refresh -run ThousandDays -refresh.seed=%d", seed)
}

func simulate(t *testing.T, seed uint64, days int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed)
		defer func() {
			if t.Failed() {
				t.Log(again(seed))
			}
		}()
		for range days {
			w.day()
		}
		w.calm()
		w.finish()
	})
}

// world is a cluster, the chaos around it, and callers.
type world struct {
	*cluster
	t     *testing.T
	rng   *rand.Rand
	keys  *rand.Rand // when an operator replaces keys
	begin time.Time
	// since when every replica has been up and connected, and the upstream able
	calmSince time.Time
	suspects  int
	readings  int
	resealed  atomic.Int64
}

func newWorld(t *testing.T, seed uint64) *world {
	j := newJudge(t)
	up := newUpstream(j)
	verified := refresh.Policy{Verify: 10 * time.Minute}
	c := newCluster(t, seed, 3, up,
		simSpec{name: classic, policy: verified, timing: token.TimingFor(j.overlap)},
		simSpec{name: stable, policy: verified, timing: token.TimingFor(j.overlap)})
	c.sync = 45 * time.Second
	c.setFaults(func(f *faults) {
		f.lostTxn, f.watch = 0.02, 5*time.Second
		f.fetch = fetchFaults{refused: 0.05, lost: 0.03, vanish: 0.02, slow: 0.05, paused: 0.05}
	})
	w := &world{cluster: c, t: t, rng: c.rng("chaos"), keys: c.rng("keys"), begin: time.Now(), calmSince: time.Now()}
	for i := range c.skew {
		c.skew[i] = between(w.rng, 0, 20*time.Second) - 10*time.Second
		c.start(i)
	}
	return w
}

// day is 24 hours of reading, with a fault every half an hour on average.
func (w *world) day() {
	end := time.Now().Add(24 * time.Hour)
	fault := time.Now().Add(w.untilFault())
	for time.Now().Before(end) {
		time.Sleep(time.Minute - time.Duration(w.rng.Int64N(int64(time.Second))))
		w.read()
		w.reseal()
		if time.Now().After(fault) {
			w.fault()
			fault = time.Now().Add(w.untilFault())
		}
	}
}

// reseal has the leader, now and then, write a record as it is: that must not be noticed by anybody.
func (w *world) reseal() {
	if w.keys.IntN(30) > 0 {
		return
	}
	lead, name := w.etcd.leader(), w.specs[w.keys.IntN(len(w.specs))].name
	if lead == nil {
		return
	}
	select {
	case lead.calls[name] <- token.Call{Request: token.Request{Kind: token.RequestReseal, Name: name}, Reply: func(token.Reply) { w.resealed.Add(1) }}:
	default: // it is busy
	}
}

func (w *world) untilFault() time.Duration {
	return time.Duration(w.rng.ExpFloat64() * float64(30*time.Minute))
}

// read asks every replica for every token, and keeps what it promises.
func (w *world) read() {
	for i := range w.running {
		inc := w.alive(i)
		if inc == nil {
			continue
		}
		for _, spec := range w.specs {
			r := w.cluster.read(inc, spec.name)
			w.readings++
			switch r.State {
			case view.Active:
				w.up.judge.promise(r.Record.Value.Reveal(), inc.name, r.TTL)
			case view.Suspect:
				w.suspects++
			case view.Expired:
				w.expired(inc, spec.name, r)
			}
		}
	}
}

// graceAfter is how long after the last fault a token may still be missing: an attempt whose answer is lost, the wait after it, and
// another one or two that fail.
const graceAfter = 30 * time.Minute

// expired judges a replica without a token: wrong if everything has been well for long enough.
func (w *world) expired(inc *incarnation, name string, r view.Reading) {
	able, ok := w.up.ableSince()
	if !ok || time.Since(able) < graceAfter || time.Since(w.calmSince) < graceAfter || time.Since(w.begin) < graceAfter {
		return
	}
	// Random faults may strike every attempt of the last minutes: then it was the upstream itself that refused for what was left.
	if refused, tries := w.up.refusedFrom(name, time.Now().Add(r.Nominal-4*time.Minute)); refused && tries >= 3 {
		return
	}
	w.t.Errorf("L1: %s has no living %s although the upstream was able for %v; the last requests were %v; %+v",
		inc.name, name, time.Since(able), w.up.lastTries(name, 6), *r.Record)
}

// fault does one bad thing, and arranges for its end.
func (w *world) fault() {
	replica := w.rng.IntN(len(w.running))
	inc := w.alive(replica)
	last := between(w.rng, time.Second, 20*time.Minute)
	switch w.rng.IntN(8) {
	case 0: // crash, restart
		w.kill(replica)
		w.after(last, func() {
			if w.alive(replica) == nil {
				w.start(replica)
			}
		})
	case 1: // partition
		if inc != nil {
			inc.cut()
			w.after(last, func() { inc.link.set(false, 0) })
		}
	case 2: // etcd drops the leader's session; the leader notices late
		if lead := w.etcd.leader(); lead != nil {
			w.changing()
			lead.zombie.Store(int64(between(w.rng, 0, 30*time.Second)))
			w.etcd.depose(lead)
		}
	case 3: // the upstream is away, for less than the rest of a life
		w.up.regime(true, nil)
		w.after(last, func() { w.up.regime(false, nil) })
	case 4: // the upstream refuses
		w.up.regime(false, &token.Failure{Outcome: token.OutcomeNone, Written: true, Class: token.Human, Code: "40125"})
		w.after(last, func() { w.up.regime(false, nil) })
	case 5: // slow etcd
		if inc != nil {
			inc.link.set(false, 1500*time.Millisecond)
			w.after(last, func() { inc.link.set(false, 0) })
		}
	case 6: // resignation
		w.changing()
		if lead := w.etcd.leader(); lead != nil {
			select {
			case lead.resign <- struct{}{}:
			default:
			}
		}
	case 7: // etcd is away, now and then for longer than a token lives
		if w.rng.IntN(10) == 0 {
			last = between(w.rng, time.Hour, 4*time.Hour)
		}
		w.darken(true)
		w.after(last, func() { w.darken(false) })
	}
}

// disturbed notes that something is wrong for so long. Faults overlap: the last to end counts.
func (w *world) disturbed(d time.Duration) {
	if end := time.Now().Add(d); end.After(w.calmSince) {
		w.calmSince = end
	}
}

// changing notes that leadership changes, which may cost an attempt its outcome, for a few minutes at most.
func (w *world) changing() { w.disturbed(3*time.Minute - graceAfter) }

// after runs the end of a fault, unless the world ends first.
func (w *world) after(d time.Duration, end func()) {
	w.disturbed(d)
	w.wg.Go(func() {
		if nap(w.ctx, d) == nil {
			end()
		}
	})
}

// calm ends all faults and waits until everything must be well again.
func (w *world) calm() {
	time.Sleep(4 * time.Hour) // the longest fault is over
	w.setFaults(func(f *faults) { *f = faults{} })
	w.up.regime(false, nil)
	for i := range w.running {
		if inc := w.alive(i); inc == nil {
			w.start(i)
		} else {
			inc.link.set(false, 0)
		}
	}
	time.Sleep(3 * time.Hour)
}

// finish judges the whole run.
func (w *world) finish() {
	for i := range w.running {
		for _, spec := range w.specs {
			if r := w.alive(i).view.Token(spec.name).Read(); r.State != view.Active {
				w.t.Errorf("L1: after the last fault replica %d says %v of %s: %+v", i, r.State, spec.name, *r.Record)
			}
		}
	}
	for _, spec := range w.specs {
		entry := w.etcd.read(spec.name)
		if entry.Record.Doubt {
			w.t.Errorf("L1: %s is still in doubt", spec.name)
		}
		if deaths := entry.Record.EarlyDeaths; deaths.Count > 0 {
			w.t.Errorf("%s died before its time %d times, although nobody else fetched", spec.name, deaths.Count)
		}
		if n := len(w.up.probed(spec.name)); n < int(time.Since(w.begin)/time.Hour) {
			w.t.Errorf("whether %s lives was asked only %d times", spec.name, n)
		}
		w.bound(spec)
	}
	if n := w.resealed.Load(); n < int64(time.Since(w.begin)/(2*time.Hour)) {
		w.t.Errorf("only %d records were sealed anew", n)
	}
	w.close()
	w.up.judge.verdict(w.t)
	if w.suspects > w.readings/20 {
		w.t.Errorf("%d of %d readings were suspect", w.suspects, w.readings)
	}
}

// bound checks L2: the number of attempts is explained by the schedule and by what went wrong.
func (w *world) bound(spec simSpec) {
	w.etcd.mu.Lock()
	begins, terms := len(w.etcd.begins[spec.name]), w.etcd.terms
	w.etcd.mu.Unlock()
	w.up.mu.Lock()
	o := *w.up.counts[spec.name]
	w.up.mu.Unlock()
	traits := w.up.traits(spec.name)
	shortest := traits.MaxLife - traits.Ahead*11/10 - time.Minute
	scheduled := int(time.Since(w.begin)/shortest) + 1
	if !traits.Rotating {
		scheduled *= 2 // a fetch just before the last five minutes is answered with the same token
	}
	if most := 1 + scheduled + o.lost + o.refused + o.unwritten + terms; begins > most {
		w.t.Errorf("L2: %s was fetched %d times; allowed are %d: %d scheduled, %+v, %d terms", spec.name, begins, most, scheduled, o, terms)
	}
	w.t.Logf("%s: %d attempts, %d scheduled, %+v, %d terms, %d values fetched alone", spec.name, begins, scheduled, o, terms, w.lone.Load())
}
