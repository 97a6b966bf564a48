package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// answerLost is the failpoint at which a write's answer is lost.
const answerLost = "storeAnswerLost"

// failpoints are a crash, a pause and a delay at each failpoint of the brokers.
func failpoints(names []string) []Fault {
	var faults []Fault
	for _, name := range names {
		if name == answerLost {
			faults = append(faults, Fault{
				Name: "etcd-answer-lost", About: "the leader does not hear what became of its next writes",
				Weight: 3, Breaks: Brokers, Effects: []string{history.EffectCut}, Lasts: lasting(2*time.Second, 8*time.Second), Inject: loseAnswers,
			})
			continue
		}
		breaks, effects := Brokers, []string{history.EffectHeld}
		if refused(name) != 0 {
			breaks, effects = breaks|WeChat, []string{history.EffectHeld, history.EffectUpstream}
		}
		faults = append(faults,
			Fault{
				Name: "crash-at-" + name, About: "kill -9 of the broker that comes to " + name,
				Weight: 1, Breaks: breaks, Effects: slices.Concat(effects, []string{history.EffectKilled}), Lasts: dead, Inject: crashAt(name),
			},
			Fault{
				Name: "pause-at-" + name, About: "SIGSTOP of the broker that comes to " + name,
				Weight: 1, Breaks: breaks, Effects: slices.Concat(effects, []string{history.EffectPaused}), Lasts: pausedInTheAct, Inject: pauseAt(name),
			},
			Fault{
				Name: "hold-at-" + name, About: "the one goroutine that comes to " + name + " is held there, and the rest goes on",
				Weight: 1, Breaks: breaks, Effects: effects, Lasts: lasting(0, time.Millisecond), Inject: holdAt(name),
			})
	}
	return faults
}

// refused returns the errcode with which WeChat must refuse a fetch for the leader to come to a failpoint; 0 if it need not.
func refused(name string) int {
	switch name {
	case "refreshBeforeAbort":
		return 40125
	case "refreshBeforeHandOver", "refreshAfterHandOver":
		return 89507
	default:
		return 0
	}
}

// takesDeposed reports whether only a deposed leader with an outcome in hand comes to a failpoint.
func takesDeposed(name string) bool {
	return strings.HasSuffix(name, "Orphan") || name == "storeBeforeLeave"
}

// pausedInTheAct is most often beyond the session's TTL: then the broker wakes deposed.
func pausedInTheAct(t Times, rng *rand.Rand) time.Duration {
	if rng.IntN(4) == 0 {
		return between(t.SessionTTL/4, t.SessionTTL, rng)
	}
	return between(t.SessionTTL+time.Second, t.SessionTTL+2*t.Protocol.W, rng)
}

func crashAt(name string) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		if rng.IntN(4) == 0 {
			return s.panicAt(ctx, name, rng)
		}
		return s.strikeAt(ctx, name, rng, (*site.Broker).Kill, (*site.Broker).Start)
	}
}

func pauseAt(name string) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		wound, err := s.strikeAt(ctx, name, rng, (*site.Broker).Pause, func(b *site.Broker, _ context.Context) error { return b.Resume() })
		wound.AtOnce = true
		return wound, err
	}
}

// holdAt keeps whoever comes to a failpoint there for up to half a quiet wait.
func holdAt(name string) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		d := between(5*look, s.Times.Protocol.W/2, rng)
		if err := s.arm(ctx, name, fmt.Sprintf("1*sleep(%d)", d.Milliseconds()), nil); err != nil {
			return Wound{}, err
		}
		disarm := s.disarming(name, s.bringAbout(ctx, name, rng))
		wound := Wound{Detail: fmt.Sprintf("for %v", d.Round(time.Millisecond)), Clean: func(ctx context.Context) error {
			err := disarm(ctx)
			traffic.Pause(ctx, d) // to disarm wakes nobody, and somebody may have come at the last moment
			return err
		}}
		b, err := s.meet(ctx, name, nil, rendezvous)
		if err == nil {
			// It was met a look late at most, and goes on when it has been there for d.
			wound.Replica, wound.Heal = b.ID, func(ctx context.Context) error { traffic.Pause(ctx, d-2*look); return nil }
		}
		return wound, err
	}
}

// loseAnswers has a few of the leader's next writes end in what looks like a time-out.
func loseAnswers(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	b, err := s.leader(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	wound := Wound{Replica: b.ID, Heal: s.disarming(answerLost, func() {})}
	if err := b.Failpoint(ctx, answerLost, fmt.Sprintf("%d*return", 1+rng.IntN(8))); err != nil && b.Running() {
		return wound, err
	}
	wound.Clean = ending(s.provoke(ctx, s.classic(rng).Name, rng))
	return wound, nil
}
