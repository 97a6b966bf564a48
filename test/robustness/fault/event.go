package fault

import (
	"slices"
	"strings"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Actor is the actor of the history's event of a fault that the storm drew. A fault may be the cause of further events.
const Actor = "storm"

// Moot reports whether a fault of the history found nothing to break.
func Moot(e history.Event) bool { return strings.HasPrefix(e.Detail, ErrMoot.Error()) }

// missed is the fault as one that struck nobody: a failpoint was armed for a while, and that is all.
func (f *Fault) missed() *Fault {
	m := *f
	m.Effects = []string{history.EffectNone}
	if slices.Contains(f.Effects, history.EffectHeld) {
		m.Effects = []string{history.EffectHeld}
	}
	return &m
}

// events are what a fault is in the history. What waits at a failpoint for somebody to come by does nothing until then.
func (f *Fault) events(e history.Event, struck time.Duration) []history.Event {
	events := make([]history.Event, len(f.Effects))
	for i, effect := range f.Effects {
		events[i], events[i].Code = e, effect
		switch effect {
		case history.EffectKilled, history.EffectPaused, history.EffectHeld:
			events[i].Sent = max(e.Sent, struck)
		}
	}
	return events
}

// stands is a fault that stands.
type stands struct {
	fault  *Fault
	event  history.Event
	struck time.Duration
}

func (s *Storm) begin(f *Fault, e history.Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strikes++
	s.standing[s.strikes] = stands{fault: f, event: e}
	return s.strikes
}

func (s *Storm) note(id int, e history.Event, struck time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standing[id] = stands{s.standing[id].fault, e, struck}
}

func (s *Storm) end(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.standing, id)
}

// Standing returns the faults that stand, as if they were healed now: whoever judges while the storm goes on needs to know of them.
func (s *Storm) Standing() []history.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []history.Event
	for _, standing := range s.standing {
		standing.event.Received = s.cfg.Scene.Recorder.Now()
		events = append(events, standing.fault.events(standing.event, standing.struck)...)
	}
	return events
}
