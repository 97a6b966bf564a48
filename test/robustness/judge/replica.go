package judge

import (
	"cmp"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// replica is what the history tells about one broker beside its answers.
type replica struct {
	id string
	// starts is when its processes were launched, in order: the first is 0 if the history does not tell.
	starts []time.Duration
	down   spans // there was no process
	paused spans // it stood still
	away   spans // down, paused or vanished, or about to be; and for a while after that, in which connections may be on their way back
	skewed spans // its wall clock was wrong
	// apart is when it may not have heard from etcd.
	apart spans
	// stops is each time for which some of it stood still.
	stops []span
	// killed is when the suite itself ended the process, ended when processes ended.
	killed spans
	ended  []*history.Event
}

// newReplica reads the events of kind Process and Fault, in any order. Those about other replicas are passed over.
func newReplica(id string, events []*history.Event) *replica {
	r := &replica{id: id}
	effects := map[string][]span{}
	var processes []*history.Event
	for _, e := range events {
		switch {
		case e.Replica != id && e.Replica != "":
		case e.Kind == history.Process:
			processes = append(processes, e)
		default:
			effects[e.Code] = append(effects[e.Code], faultSpan(e))
		}
	}
	slices.SortStableFunc(processes, func(a, b *history.Event) int { return cmp.Compare(a.Sent, b.Sent) })
	r.down = merge(r.follow(processes, effects[history.EffectKilled]))
	r.killed = merge(effects[history.EffectKilled])
	r.paused = merge(effects[history.EffectPaused])
	r.away = merge(r.down, r.paused, effects[history.EffectVanished]).grown(noticed, reconnectTime)
	r.skewed = merge(effects[history.EffectSkewed])
	r.stops = slices.Concat(effects[history.EffectPaused], effects[history.EffectHeld])
	// A clock that jumps voids what was known of etcd, at that moment.
	var jumps []span
	for _, s := range effects[history.EffectSkewed] {
		jumps = append(jumps, span{s.from, s.from}, span{s.to, s.to})
	}
	r.apart = merge(r.down, r.paused, effects[history.EffectCut], jumps)
	return r
}

// noticed is how long it may take the suite to notice that a process has ended, or for the history to tell that one stands still.
const noticed = time.Second

// follow takes in the life and death of the replica's processes, and returns when there was none. When a fault was to kill a process does
// not tell when that died: it may have been told to die at a failpoint, and lived for long.
func (r *replica) follow(processes []*history.Event, killed []span) []span {
	var down []span
	gone := time.Duration(0) // since when there is no process; negative: there is one
	for _, e := range processes {
		switch e.Code {
		case history.ProcessStarted:
			if gone < 0 { // nobody noticed the end of the last one
				gone = e.Sent
			}
			r.starts = append(r.starts, e.Sent)
			down = append(down, span{gone, e.Received})
			gone = -1
		case history.ProcessEnded:
			r.ended = append(r.ended, e)
			gone = e.Sent
		}
	}
	if len(r.starts) == 0 { // the history does not tell: it was there from the beginning, and after each time that it was killed
		r.starts = []time.Duration{0}
		for _, s := range killed {
			r.starts = append(r.starts, s.to)
		}
		slices.Sort(r.starts)
		return killed
	}
	if gone >= 0 {
		down = append(down, span{gone, forever})
	}
	return down
}

// faultSpan is when a fault was in force. One that was not healed ends with the run.
func faultSpan(e *history.Event) span {
	if e.Received < e.Sent {
		return span{e.Sent, forever}
	}
	return span{e.Sent, e.Received}
}

// life numbers the process that runs, or is the next to run, at a moment.
func (r *replica) life(at time.Duration) int {
	n, found := slices.BinarySearch(r.starts, at)
	if found {
		return n
	}
	return n - 1
}

// heard returns a moment: what was in etcd by then, this replica must have known at the given one. False if it need not know anything.
func (r *replica) heard(at time.Duration) (time.Duration, bool) {
	end, ok := r.apart.lastFree(at, hearTime)
	if !ok || r.life(end) != r.life(at) {
		return 0, false
	}
	return end - hearTime, true
}
