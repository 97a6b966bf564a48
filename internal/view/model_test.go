package view_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// observer is a replica in a world.
type observer struct {
	view  *view.View
	clock *clock.Clock
	wall  time.Duration // its wall clock minus true time
	slept time.Duration // true time that its monotonic clock missed
	well  bool          // it keeps up whenever time passes

	watched int64 // the revision that the watch told of last; 0 before the first load
	reads   []*flight
	version int64 // the highest that it showed
	knows   bool  // false until it shows one, and again after the token was taken out and put back in
}

// flight is a linearizable read under way.
type flight struct {
	sent  clock.Reading
	floor int64
	found int64 // the revision that it found; 0 before it took place
}

// pick draws one of the choices without rapid's preference for the first.
func pick[E any](t *rapid.T, label string, choices ...E) E {
	t.Helper()
	i := rapid.Custom(func(t *rapid.T) int {
		i := 0
		for range 7 {
			i <<= 1
			if rapid.Bool().Draw(t, "bit") {
				i++
			}
		}
		return i * len(choices) / 128
	}).Draw(t, label)
	return choices[i]
}

// anyWall is a wall clock's error. Any two of them differ by no more than the tolerated skew, and by more than what is no jump: what
// the clock is not meant to notice would make promises too long by as much.
func anyWall(t *rapid.T) time.Duration {
	const half = view.DefaultSkew / 2
	return pick(t, "wall", -half, -5*time.Second, -time.Second, 0, time.Second, 5*time.Second, half)
}

// start makes an observer start, or start again with an empty memory.
func (o *observer) start(w *world) {
	*o = observer{wall: anyWall(w.T)}
	o.clock = clock.FromSource(func() (time.Duration, time.Time) {
		return w.now - o.slept, epoch().Add(w.now + o.wall)
	})
	o.view = view.New(view.Config{Clock: o.clock})
	o.configure(w, classic("t"))
}

func (o *observer) configure(w *world, specs ...view.Spec) {
	if err := o.view.Configure(specs); err != nil {
		w.Fatal(err)
	}
}

// watch lets the watch tell of one more revision.
func (o *observer) watch(w *world) {
	if o.watched == 0 || o.watched == int64(len(w.history)) {
		return
	}
	next := w.history[o.watched]
	o.watched++
	if next.changed {
		o.view.Apply(o.watched, next.head, []view.Change{{Name: "t", Record: next.rec}})
	} else {
		o.view.Apply(o.watched, 0, nil)
	}
}

// read takes a read one step further: it is sent, takes place, and its answer arrives.
func (o *observer) read(w *world) {
	i := pick(w.T, "read", 0, 1, 2, 3, 4, 5)
	switch {
	case i >= len(o.reads):
		o.reads = append(o.reads, o.send())
	case o.reads[i].found == 0:
		o.reads[i].found = int64(len(w.history))
	default:
		o.receive(w, o.reads[i], o.watched == 0 || pick(w.T, "load", true, false, false))
		o.reads = append(o.reads[:i:i], o.reads[i+1:]...)
	}
}

func (o *observer) send() *flight { return &flight{floor: o.view.Revision(), sent: o.clock.Read()} }

// receive takes in the answer to a read, of everything or of the head only.
func (o *observer) receive(w *world, f *flight, everything bool) {
	found := w.history[f.found-1]
	if everything {
		if o.view.Load(f.floor, f.found, found.head, []view.Change{{Name: "t", Record: found.rec}}) {
			o.view.Synced(f.sent, found.head)
			o.watched = max(o.watched, f.found)
		}
		return
	}
	applied, _ := o.view.Applied(found.head)
	if o.view.Synced(f.sent, found.head) && !applied {
		w.Fatal("a proof was accepted of a change that was not applied")
	}
}

// keepUp is what an undisturbed replica does.
func (o *observer) keepUp(w *world) {
	for o.watched > 0 && o.watched < int64(len(w.history)) {
		o.watch(w)
	}
	f := o.send()
	f.found = int64(len(w.history))
	o.receive(w, f, o.watched == 0)
}

// judge holds what the replica says against the truth.
func (o *observer) judge(w *world) bool {
	got := o.view.Token("t").Read()
	if got.Record.Version < o.version && (o.knows || got.Record.Version > 0) {
		w.Fatalf("a replica went from version %d to %d", o.version, got.Record.Version)
	}
	if got.Record.Version > 0 {
		o.version, o.knows = got.Record.Version, true
	}
	if got.Record.Value != w.values[got.Record.Version] {
		w.Fatalf("version %d has two values", got.Record.Version)
	}
	if (got.TTL > 0) != (got.State == view.Active) {
		w.Fatalf("%v with %v to live", got.State, got.TTL)
	}
	if got.State == view.Active {
		w.promised(got.Record.Value, got.TTL)
	}
	// Caution must have its reasons.
	if age, ok := o.view.Age(); ok && got.Nominal > 0 && got.Record.Clean() && got.TTL != min(w.timing.W-age, got.Nominal) && w.timing.W > age {
		w.Fatalf("a clean token, proved current %v ago, ends in %v and is promised for %v", age, got.Nominal, got.TTL)
	}
	return got.State == view.Active
}

// step lets one thing happen.
func (w *world) step(observers []*observer) {
	anyObserver := func() *observer { return pick(w.T, "replica", observers...) }
	anyLeader := func() *leader { return pick(w.T, "leader", w.leaders...) }
	switch pick(w.T, "event", events...) {
	case "lead":
		w.advance(anyLeader())
	case "hurry":
		for l := anyLeader(); l.phase != written && (l.phase != idle || w.now >= l.quiet) && slices.Contains(w.leaders, l); {
			w.advance(l)
		}
	case "upstream":
		if len(w.wire) > 0 {
			outcome := pick(w.T, "outcome", "answered", "answered", "answered", "issued", "refused", "lost")
			w.process(pick(w.T, "request", w.wire...), outcome)
		}
	case "elect":
		w.elect()
	case "die":
		if l := anyLeader(); l.term != w.term {
			w.remove(l)
		}
	case "other":
		w.putOther()
	case "watch":
		anyObserver().watch(w)
	case "read":
		anyObserver().read(w)
	case "keep up":
		anyObserver().keepUp(w)
	case "well or not":
		o := anyObserver()
		o.well = !o.well
	case "tick":
		w.tick(pick(w.T, "time",
			time.Millisecond, time.Second, time.Second, 3*time.Second, 5*time.Second, 20*time.Second, time.Minute, w.timing.W))
	case "age":
		w.tick(life / 3)
	case "wait":
		w.tick(max(0, w.leaders[len(w.leaders)-1].quiet-w.now))
	case "sleep":
		d := pick(w.T, "slept", time.Second, time.Minute, time.Hour)
		anyObserver().slept += d
		w.tick(d)
	case "set wall":
		anyObserver().wall = anyWall(w.T)
	case "reconfigure":
		o := anyObserver()
		o.configure(w)
		o.configure(w, classic("t"))
		o.knows = false
	case "restart":
		anyObserver().start(w)
	}
}

// events are what may happen, the frequent ones more often.
var events = slices.Concat(
	slices.Repeat([]string{"lead"}, 20), slices.Repeat([]string{"hurry"}, 10), slices.Repeat([]string{"upstream"}, 16),
	slices.Repeat([]string{"read"}, 20), slices.Repeat([]string{"watch"}, 12), slices.Repeat([]string{"keep up"}, 12), slices.Repeat([]string{"well or not"}, 4),
	slices.Repeat([]string{"tick"}, 10), slices.Repeat([]string{"wait"}, 6),
	[]string{"elect", "elect", "die", "other", "age", "sleep", "set wall", "reconfigure", "restart"},
)

// The properties S1 and S2 of the protocol: a token that is answered as active with a remaining life is alive at the upstream for that
// long, versions grow, and one version has one value.
func TestEveryPromiseIsKeptAndVersionsNeverGoBack(t *testing.T) {
	rotations, promises := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.T = t
		w.elect()
		observers := []*observer{{}, {}, {}}
		for _, o := range observers {
			o.start(w)
		}
		for range rapid.IntRange(2000, 2100).Draw(t, "steps") {
			before := w.now
			w.step(observers)
			for _, o := range observers {
				if o.well && w.now != before {
					o.keepUp(w)
				}
				if o.judge(w) {
					promises++
				}
			}
		}
		rotations += len(w.issued)
	})
	t.Logf("%d tokens were issued, %d promises made", rotations, promises)
	if rotations < 50 || promises < 500 {
		t.Errorf("%d tokens were issued and %d promises made: too few to prove anything", rotations, promises)
	}
}
