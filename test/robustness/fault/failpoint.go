package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.etcd.io/gofail/runtime"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

const (
	// rendezvous is how long a failpoint is waited for, and look how often it is looked at.
	rendezvous = 10 * time.Second
	look       = 20 * time.Millisecond
	// stopThere are the terms with which a broker stops itself at a failpoint, and window how long one that runs may take to say so.
	stopThere = "1*return"
	window    = time.Second
	// answerLost is the failpoint at which a write's answer is lost.
	answerLost = "storeAnswerLost"
)

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

// strikeAt has the first broker that comes to a failpoint stop there, between two lines, and strikes it. What leads there is brought
// about, too.
func (s *Scene) strikeAt(ctx context.Context, name string, rng *rand.Rand, how func(*site.Broker) error, undo func(*site.Broker, context.Context) error) (Wound, error) {
	if err := s.arm(ctx, name, stopThere, nil); err != nil {
		return Wound{}, err
	}
	wound := Wound{Clean: s.disarming(name, s.bringAbout(ctx, name, rng))}
	b, err := s.meetStopped(ctx, name, rendezvous)
	if err != nil {
		return wound, errors.Join(err, s.disarm(context.WithoutCancel(ctx), name, nil))
	}
	wound.Replica, wound.Struck, wound.Heal = b.ID, s.Recorder.Now()-look, func(ctx context.Context) error { return undo(b, ctx) }
	if err := how(b); err != nil {
		return wound, err
	}
	return wound, s.disarm(ctx, name, b)
}

// meetStopped waits for a while until a broker has stopped at a failpoint, and returns it, paused.
func (s *Scene) meetStopped(ctx context.Context, name string, within time.Duration) (*site.Broker, error) {
	for began := time.Now(); time.Since(began) < within; {
		for _, b := range s.Site.Brokers {
			if b.StandsStill() {
				return b, b.Pause()
			}
		}
		if !pause(ctx, look) {
			break
		}
	}
	return nil, fmt.Errorf("%w: no broker came to %s", ErrMoot, name)
}

// disarm turns a failpoint off on every broker that runs, but one, and lets those go on that have stopped there after the first.
func (s *Scene) disarm(ctx context.Context, name string, but *site.Broker) error {
	for _, b := range s.Site.Brokers {
		for b != but && b.Running() {
			if b.StandsStill() {
				if err := errors.Join(b.Pause(), b.Resume()); err != nil && b.Running() {
					return err
				}
			}
			actx, cancel := context.WithTimeout(ctx, window)
			err := b.Failpoint(actx, name, "")
			cancel()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}

// panicAt has the broker that comes to a failpoint panic there.
func (s *Scene) panicAt(ctx context.Context, name string, rng *rand.Rand) (Wound, error) {
	if err := s.arm(ctx, name, "1*panic", nil); err != nil {
		return Wound{}, err
	}
	wound := Wound{Detail: "by a panic", Heal: s.startBrokers, Clean: s.disarming(name, s.bringAbout(ctx, name, rng))}
	for began := time.Now(); time.Since(began) < rendezvous && s.dead() == nil && pause(ctx, look); {
	}
	err := s.disarm(context.WithoutCancel(ctx), name, nil)
	if b := s.dead(); b != nil { // it may have come there at the last moment
		wound.Replica = b.ID
		return wound, err
	}
	return wound, errors.Join(err, fmt.Errorf("%w: no broker came to %s", ErrMoot, name))
}

// dead returns a broker that does not run; nil if all do.
func (s *Scene) dead() *site.Broker {
	for _, b := range s.Site.Brokers {
		if !b.Running() {
			return b
		}
	}
	return nil
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
			pause(ctx, d) // to disarm wakes nobody, and somebody may have come at the last moment
			return err
		}}
		b, err := s.meet(ctx, name, nil, rendezvous)
		if err == nil {
			// It was met a look late at most, and goes on when it has been there for d.
			wound.Replica, wound.Heal = b.ID, func(ctx context.Context) error { pause(ctx, d-2*look); return nil }
		}
		return wound, err
	}
}

// disarming returns a Wound.Clean that ends what brings brokers to a failpoint, and disarms it.
func (s *Scene) disarming(name string, stop func()) func(context.Context) error {
	return func(ctx context.Context) error {
		stop()
		return s.disarm(ctx, name, nil)
	}
}

// ending returns a Wound.Clean that ends what goes on in the background.
func ending(stops ...func()) func(context.Context) error {
	return func(context.Context) error {
		for _, stop := range stops {
			stop()
		}
		return nil
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

// arm sets the terms of a failpoint on every broker that runs, but one. A broker that has just started knows its failpoints a moment later.
func (s *Scene) arm(ctx context.Context, name, terms string, but *site.Broker) error {
	for _, b := range s.Site.Brokers {
		if b == but {
			continue
		}
		err := b.Failpoint(ctx, name, terms)
		switch {
		case err == nil || !b.Running():
		case strings.Contains(err.Error(), runtime.ErrNoExist.Error()):
			return fmt.Errorf("%w: no broker has the package of %s in it", ErrMoot, name)
		default:
			return err
		}
	}
	return nil
}

// meet waits for a while until a broker, but one, is at a failpoint, and returns it.
func (s *Scene) meet(ctx context.Context, name string, but *site.Broker, within time.Duration) (*site.Broker, error) {
	for began := time.Now(); time.Since(began) < within; {
		for _, b := range s.Site.Brokers {
			if b == but {
				continue
			}
			if n, err := b.FailpointCount(ctx, name); err == nil && n > 0 {
				return b, nil
			}
		}
		if !pause(ctx, look) {
			break
		}
	}
	return nil, fmt.Errorf("%w: no broker came to %s", ErrMoot, name)
}

// bringAbout does what leads brokers to a failpoint: an operator's commands, a refusal, a pause. It goes on in the background; stop ends it.
func (s *Scene) bringAbout(ctx context.Context, name string, rng *rand.Rand) (stop func()) {
	switch tok, code := s.classic(rng), refused(name); {
	case code != 0:
		wound, err := s.struck(ctx, tok.Name, rng, wechattest.Fault{Endpoint: tok.Endpoint, Kind: wechattest.Errcode, Code: code})
		if err != nil {
			return func() {}
		}
		return func() {
			ctx := context.WithoutCancel(ctx)
			_ = errors.Join(wound.Heal(ctx), wound.Clean(ctx)) // they cannot fail
		}
	case strings.HasSuffix(name, "Orphan"), name == "storeBeforeLeave":
		return s.depose(ctx, rng)
	case strings.HasPrefix(name, "leader"), strings.HasSuffix(name, "FirstRead"):
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.resign(ctx)
		}()
		return func() { <-ended }
	default:
		return s.provoke(ctx, tok.Name, rng)
	}
}

// resign has the leader give up the lead, through any broker that runs.
func (s *Scene) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, rendezvous)
	defer cancel()
	for _, b := range s.Site.Brokers {
		if !b.Running() {
			continue
		}
		e := history.Event{Kind: history.Resign, Actor: Actor, Replica: b.ID, Sent: s.Recorder.Now()}
		_, err := tokenbrokerv1.NewAdminServiceClient(b.Conn()).ResignLeadership(ctx, &tokenbrokerv1.ResignLeadershipRequest{})
		e.Received, e.Code, e.Detail = s.Recorder.Now(), status.Code(err).String(), status.Convert(err).Message()
		s.Recorder.Add(e)
		return
	}
}
