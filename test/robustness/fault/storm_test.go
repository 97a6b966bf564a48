package fault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/fault"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// steps describes the first 50 steps of the storms of a run.
func steps(seed uint64) []string {
	var all []string
	for _, s := range fault.Front(fault.StormConfig{Seed: seed, Faults: catalogue(), LongestCalm: 5 * time.Second}) {
		for i := range 50 {
			f, calm := s.Plan(i)
			all = append(all, fmt.Sprint(f.Name, calm))
		}
	}
	return all
}

func TestStepsAreThoseOfTheSeed(t *testing.T) {
	if a, b := fmt.Sprint(steps(1)), fmt.Sprint(steps(1)); a != b {
		t.Errorf("one seed, two storms:\n%s\n%s", a, b)
	}
	if a, b := fmt.Sprint(steps(1)), fmt.Sprint(steps(2)); a == b {
		t.Error("two seeds, one storm")
	}
}

func TestEveryFaultIsDrawn(t *testing.T) {
	drawn := map[string]bool{}
	for _, s := range fault.Front(fault.StormConfig{Seed: 1, Faults: catalogue()}) {
		for i := range 3000 {
			f, _ := s.Plan(i)
			drawn[f.Name] = true
		}
	}
	if len(drawn) != len(catalogue()) {
		t.Errorf("%d of %d faults were drawn", len(drawn), len(catalogue()))
	}
}

func TestNoPartIsBrokenTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scene := &fault.Scene{Recorder: history.NewRecorder(), Times: times()}
		var brokers, etcd, both play
		faults := []fault.Fault{brokers.fault("one", fault.Brokers, nil), etcd.fault("two", fault.Etcd, nil), both.fault("both", fault.Brokers|fault.Etcd, nil)}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for _, s := range fault.Front(fault.StormConfig{Scene: scene, Seed: 1, Faults: faults, LongestCalm: 10 * time.Second}) {
			all.Go(func() {
				if err := s.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		together := 0
		for range 1000 {
			time.Sleep(time.Second)
			if both.standing.Load()+brokers.standing.Load() > 1 || both.standing.Load()+etcd.standing.Load() > 1 {
				t.Fatal("a part is broken twice")
			}
			if brokers.standing.Load()+etcd.standing.Load() == 2 {
				together++
			}
		}
		all.Wait()
		if together == 0 || both.injected.Load() == 0 {
			t.Errorf("two faults stood together %d times, and %d broke two parts", together, both.injected.Load())
		}
	})
}

// play is a fault that only counts.
type play struct {
	injected, healed, standing atomic.Int64
	struck, healing            time.Duration
	atOnce                     bool
}

func pause(d time.Duration) { <-time.After(d) }

func (p *play) fault(name string, breaks fault.Part, err error) fault.Fault {
	return fault.Fault{
		Name: name, Weight: 1, Breaks: breaks, Effects: []string{history.EffectKilled, history.EffectCut},
		Lasts: func(fault.Times, *rand.Rand) time.Duration { return 10 * time.Second },
		Inject: func(context.Context, *fault.Scene, *rand.Rand) (fault.Wound, error) {
			p.injected.Add(1)
			p.standing.Add(1)
			return fault.Wound{Replica: "r1", Detail: "words", Struck: p.struck, AtOnce: p.atOnce, Heal: func(ctx context.Context) error {
				p.healed.Add(1)
				p.standing.Add(-1)
				pause(p.healing)
				return ctx.Err()
			}, Clean: func(ctx context.Context) error {
				pause(time.Second)
				return ctx.Err()
			}}, err
		},
	}
}

// rage lets a storm of faults rage for a while, and returns what it left in the history.
func rage(t *testing.T, d time.Duration, faults ...fault.Fault) ([]history.Event, error) {
	t.Helper()
	rec := history.NewRecorder()
	s := fault.NewStorm(fault.StormConfig{
		Scene: &fault.Scene{Recorder: rec, Times: times()}, Seed: 1, Faults: faults, LongestCalm: 2 * time.Second,
	})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	err := s.Run(ctx)
	if standing := s.Standing(); len(standing) != 0 {
		t.Errorf("after the storm there stand %v", standing)
	}
	return rec.Events(), err
}

func TestEveryFaultIsHealedWhenTheStormEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p play
		events, err := rage(t, 5*time.Second, p.fault("one", fault.Brokers, nil), p.fault("two", fault.WeChat, nil))
		if err != nil || p.injected.Load() == 0 || p.injected.Load() != p.healed.Load() {
			t.Errorf("%d injected, %d healed, %v", p.injected.Load(), p.healed.Load(), err)
		}
		if n := p.injected.Load() * 2; int64(len(events)) != n {
			t.Errorf("%d events, want %d", len(events), n)
		}
	})
}

func TestFaultIsInTheHistoryWithItsEffects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p play
		events, err := rage(t, 12*time.Second, p.fault("one", fault.Brokers, nil))
		if err != nil || len(events) != 2 {
			t.Fatalf("%v, %v", events, err)
		}
		for i, effect := range []string{history.EffectKilled, history.EffectCut} {
			e := events[i]
			if e.Kind != history.Fault || e.Code != effect || e.Reason != "one" || e.Replica != "r1" || e.Detail != "words" || e.Received-e.Sent != 10*time.Second {
				t.Errorf("event %+v", e)
			}
		}
	})
}

func TestFaultThatStandsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p play
		rec := history.NewRecorder()
		s := fault.NewStorm(fault.StormConfig{
			Scene: &fault.Scene{Recorder: rec, Times: times()}, Seed: 1, Faults: []fault.Fault{p.fault("one", fault.Brokers, nil)},
			LongestCalm: 1,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(5 * time.Second)
		standing := s.Standing()
		if len(standing) != 2 || standing[0].Sent != 0 || standing[0].Received != 5*time.Second || standing[0].Replica != "r1" {
			t.Errorf("there stand %+v", standing)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestMootFaultHasNoEffectAndStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p play
		events, err := rage(t, 10*time.Second, p.fault("one", fault.Brokers, fmt.Errorf("%w: nobody there", fault.ErrMoot)))
		if err != nil || len(events) < 4 || p.standing.Load() != 0 {
			t.Fatalf("%v, %v", events, err)
		}
		for _, e := range events {
			if e.Code != history.EffectNone || e.Received != e.Sent {
				t.Errorf("event %+v", e)
			}
		}
	})
}

func TestFaultThatFailsEndsTheStormAndIsHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p play
		failure := errors.New("broken")
		if _, err := rage(t, time.Minute, p.fault("one", fault.Brokers, failure)); !errors.Is(err, failure) || p.standing.Load() != 0 {
			t.Errorf("%v, %d not healed", err, p.standing.Load())
		}
	})
}

func TestFaultLastsFromTheBlowUntilItsVictimGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			atOnce bool
			want   time.Duration
		}{{true, 10 * time.Second}, {false, 13 * time.Second}} {
			p := play{struck: time.Nanosecond, healing: 3 * time.Second, atOnce: c.atOnce}
			events, err := rage(t, 12*time.Second, p.fault("one", fault.Brokers, nil))
			if err != nil || len(events) == 0 {
				t.Fatalf("%v, %v", events, err)
			}
			if e := events[0]; e.Received-e.Sent != c.want {
				t.Errorf("healed at once %v: it lasted %v, want %v", c.atOnce, e.Received-e.Sent, c.want)
			}
			p = play{struck: 5 * time.Second}
			events, err = rage(t, 12*time.Second, p.fault("one", fault.Brokers, nil))
			if err != nil || len(events) < 2 || events[0].Sent != 5*time.Second || events[1].Sent == events[0].Sent {
				t.Errorf("a blow at 5 s: %+v, %v", events, err)
			}
		}
	})
}

func TestNothingIsHeldUntilSomebodyComesByTheFailpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play{struck: 5 * time.Second}
		armed := p.fault("one", fault.Brokers, nil)
		armed.Effects = []string{history.EffectHeld, history.EffectUpstream}
		events, err := rage(t, 12*time.Second, armed)
		if err != nil || len(events) < 2 || events[0].Sent != 5*time.Second || events[1].Sent >= 5*time.Second {
			t.Errorf("a blow at 5 s: %+v, %v", events, err)
		}
	})
}
