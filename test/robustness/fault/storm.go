package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// healTime is how long a healing may take on a busy machine: members of etcd and brokers are started in it.
const healTime = 90 * time.Second

// StormConfig says what breaks when.
type StormConfig struct {
	Scene *Scene
	// Name tells the storms of one run apart, which rage at the same time.
	Name   string
	Seed   uint64
	Faults []Fault
	// LongestCalm bounds the time between the end of a fault and the next.
	LongestCalm time.Duration
}

// Storm breaks a site at random moments, one fault after the other.
type Storm struct {
	cfg StormConfig

	mu       sync.Mutex // guards all below
	standing map[int]stands
	strikes  int
}

// NewStorm returns a Storm that has not begun.
func NewStorm(cfg StormConfig) *Storm { return &Storm{cfg: cfg, standing: make(map[int]stands)} }

// Front returns storms that break what one would, but each a part of its own, all at the same time. Thus any two faults come to stand
// together, and three at times.
func Front(cfg StormConfig) []*Storm {
	var storms []*Storm
	for part := Brokers; part <= WeChat; part <<= 1 {
		own := cfg
		own.Name += fmt.Sprint(part)
		own.Faults = nil
		for _, f := range cfg.Faults {
			if f.Breaks&-f.Breaks == part { // the first of its parts
				own.Faults = append(own.Faults, f)
			}
		}
		if len(own.Faults) > 0 {
			storms = append(storms, NewStorm(own))
		}
	}
	return storms
}

// Plan returns the storm's step of a number, counting from 0: a fault, and the calm before it. It hangs on nothing but the seed and the
// faults.
func (s *Storm) Plan(step int) (*Fault, time.Duration) {
	rng := s.choices(step, "plan")
	calm := between(0, s.cfg.LongestCalm, rng)
	total := 0
	for _, f := range s.cfg.Faults {
		total += f.Weight
	}
	n := rng.IntN(total)
	i := slices.IndexFunc(s.cfg.Faults, func(f Fault) bool {
		n -= f.Weight
		return n < 0
	})
	return &s.cfg.Faults[i], calm
}

func (s *Storm) choices(step int, what string) *rand.Rand {
	return traffic.Choices(s.cfg.Seed, fmt.Sprintf("storm %s %d %s", s.cfg.Name, step, what))
}

// Run breaks the site until ctx ends; then it heals what is broken and returns nil. It fails if something could not be broken or
// healed: that says nothing of the brokers.
func (s *Storm) Run(ctx context.Context) error {
	for step := 0; ; step++ {
		f, calm := s.Plan(step)
		if !traffic.Pause(ctx, calm) {
			return nil
		}
		if err := s.strike(ctx, f, s.choices(step, "fault")); err != nil {
			return err
		}
	}
}

// strike breaks, waits and heals.
func (s *Storm) strike(ctx context.Context, f *Fault, rng *rand.Rand) error {
	lasts := f.Lasts(s.cfg.Scene.Times, rng)
	release, ok := s.cfg.Scene.claim(ctx, f.Breaks)
	if !ok {
		return nil
	}
	defer release()
	e := history.Event{Kind: history.Fault, Actor: Actor, Reason: f.Name, Sent: s.cfg.Scene.Recorder.Now()}
	id := s.begin(f, e)
	defer s.end(id)
	wound, err := f.Inject(ctx, s.cfg.Scene, rng)
	moot := errors.Is(err, ErrMoot)
	if moot {
		f, wound.Detail = f.missed(), err.Error()
	}
	e.Replica, e.Detail = wound.Replica, wound.Detail
	if err == nil {
		s.note(id, e, wound.Struck)
		traffic.Pause(ctx, lasts)
	}
	healed := wound.heal(ctx, s.cfg.Scene.Recorder, &e)
	if err != nil && !moot && ctx.Err() == nil {
		return fmt.Errorf("injecting %s: %w", f.Name, err)
	}
	for _, e := range f.events(e, wound.Struck) {
		s.cfg.Scene.Recorder.Add(e)
	}
	if healed != nil {
		return fmt.Errorf("healing %s: %w", f.Name, healed)
	}
	return nil
}

// heal heals and cleans, whether or not the run goes on, and notes when the fault ended.
func (w Wound) heal(ctx context.Context, rec *history.Recorder, e *history.Event) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healTime)
	defer cancel()
	e.Received = rec.Now()
	var errs []error
	if w.Heal != nil {
		errs = append(errs, w.Heal(ctx))
		if !w.AtOnce {
			e.Received = rec.Now()
		}
	}
	if w.Clean != nil {
		errs = append(errs, w.Clean(ctx))
	}
	return errors.Join(errs...)
}
