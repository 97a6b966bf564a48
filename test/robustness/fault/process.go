package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// clockTime is how long a broker takes to see that its clock was set.
const clockTime = 200 * time.Millisecond

// chooser says which broker is to be struck.
type chooser func(*Scene, context.Context, *rand.Rand) (*site.Broker, error)

// processes are the faults of the brokers' processes.
func processes() []Fault {
	return []Fault{
		{
			Name: "kill-leader", About: "kill -9 of the leader, started again after up to twice the session's TTL",
			Weight: 4, Breaks: Brokers, Effects: []string{history.EffectKilled}, Lasts: dead, Inject: kill((*Scene).leader),
		},
		{
			Name: "kill-follower", About: "kill -9 of a follower",
			Weight: 2, Breaks: Brokers, Effects: []string{history.EffectKilled}, Lasts: dead, Inject: kill((*Scene).follower),
		},
		{
			Name: "kill-every-broker", About: "kill -9 of all brokers at once",
			Weight: 1, Breaks: Brokers, Effects: []string{history.EffectKilled}, Lasts: lasting(0, time.Second), Inject: killAll,
		},
		{
			Name: "pause-leader", About: "SIGSTOP of the leader for 1 s to beyond its session's TTL and the quiet wait, then SIGCONT",
			Weight: 4, Breaks: Brokers, Effects: []string{history.EffectPaused}, Lasts: paused, Inject: suspend((*Scene).leader),
		},
		{
			Name: "pause-follower", About: "the same with a follower",
			Weight: 2, Breaks: Brokers, Effects: []string{history.EffectPaused}, Lasts: paused, Inject: suspend((*Scene).follower),
		},
		{
			Name: "restart", About: "SIGTERM, and a start when it has ended",
			Weight: 3, Breaks: Brokers, Effects: []string{history.EffectKilled}, Lasts: lasting(0, 2*time.Second), Inject: restart,
		},
		{
			Name: "clock-wrong", About: "a broker that starts with a wall clock that is 10 min fast or slow, and is set right later",
			Weight: 2, Breaks: Brokers, Effects: []string{history.EffectSkewed}, Lasts: lasting(5*time.Second, 30*time.Second), Inject: startWithWrongClock,
		},
		{
			Name: "clock-jumps", About: "the wall clock of a running broker jumps by 10 min, ahead or back, and back again",
			Weight: 2, Breaks: Brokers, Effects: []string{history.EffectSkewed}, Lasts: lasting(500*time.Millisecond, 10*time.Second), Inject: clockJumps,
		},
	}
}

// dead is how long a killed broker stays away.
func dead(t Times, rng *rand.Rand) time.Duration { return between(0, 2*t.SessionTTL, rng) }

// paused is how long a broker stands still: half of the times a second or so, else anything to beyond all waits of the protocol.
func paused(t Times, rng *rand.Rand) time.Duration {
	if rng.IntN(2) == 0 {
		return between(time.Second, t.SessionTTL, rng)
	}
	return between(t.SessionTTL, t.SessionTTL+t.Protocol.W+t.Protocol.D, rng)
}

func kill(choose chooser) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		b, err := choose(s, ctx, rng)
		if err != nil {
			return Wound{}, err
		}
		return Wound{Replica: b.ID, Heal: b.Start}, b.Kill()
	}
}

func killAll(ctx context.Context, s *Scene, _ *rand.Rand) (Wound, error) {
	for _, b := range s.Site.Brokers {
		if err := b.Kill(); err != nil {
			return Wound{}, err
		}
	}
	return Wound{Heal: s.startBrokers}, nil
}

// startBrokers starts every broker that does not run.
func (s *Scene) startBrokers(ctx context.Context) error {
	for _, b := range s.Site.Brokers {
		if err := b.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func suspend(choose chooser) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		b, err := choose(s, ctx, rng)
		if err != nil {
			return Wound{}, err
		}
		return Wound{Replica: b.ID, Heal: func(context.Context) error { return b.Resume() }, AtOnce: true}, b.Pause()
	}
}

func restart(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	b, err := s.some(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	// A broker that is told to stop is not left half-way when the run ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), site.StopTime)
	defer cancel()
	return Wound{Replica: b.ID, Heal: b.Start}, b.Stop(ctx)
}

// wrong is how far a wrong clock is off.
func wrong(rng *rand.Rand) time.Duration {
	if rng.IntN(2) == 0 {
		return -10 * time.Minute
	}
	return 10 * time.Minute
}

// setRight sets a broker's clock right, and waits until the broker has seen it.
func setRight(b *site.Broker) func(context.Context) error {
	return func(ctx context.Context) error {
		err := b.SetClock(0)
		traffic.Pause(ctx, clockTime)
		return err
	}
}

func startWithWrongClock(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	b, err := s.some(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	off := wrong(rng)
	wound := Wound{Replica: b.ID, Detail: fmt.Sprintf("off by %v", off), Heal: setRight(b)}
	killed := history.Event{
		Kind: history.Fault, Code: history.EffectKilled, Actor: "clock-wrong", Replica: b.ID, Reason: "clock-wrong", Sent: s.Recorder.Now(),
	}
	if err := b.Kill(); err != nil {
		return wound, err
	}
	if err := b.SetClock(off); err != nil {
		return wound, err
	}
	err = b.Start(ctx)
	killed.Received = s.Recorder.Now()
	s.Recorder.Add(killed)
	return wound, err
}

func clockJumps(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	b, err := s.some(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	off := wrong(rng)
	wound := Wound{Replica: b.ID, Detail: fmt.Sprintf("by %v", off), Heal: setRight(b)}
	return wound, b.SetClock(off)
}
