package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// The failpoints at which leaders are struck here.
const (
	beforeWrite  = "refreshBeforeWrite"
	beforeCommit = "refreshBeforeCommit"
)

// deposed are leaders that wake up when they lead no more, with a request that they were just about to write.
func deposed(names []string) []Fault {
	if !slices.Contains(names, beforeWrite) || !slices.Contains(names, beforeCommit) {
		return nil
	}
	return []Fault{
		{
			Name: "late-request", About: "SIGSTOP of the leader that is about to write its request, until its successor has committed",
			Weight: 2, Breaks: Brokers, Effects: []string{history.EffectHeld, history.EffectPaused}, Lasts: untilSucceeded,
			Inject: leftAlone(pauseAt(beforeWrite)),
		},
		{
			Name: "late-request-meets-commit", About: "the same, but it goes on just when its successor is about to commit",
			Weight: 2, Breaks: Brokers, Effects: []string{history.EffectHeld, history.EffectPaused}, Lasts: lasting(0, time.Millisecond),
			Inject: leftAlone(wakeAtCommit),
		},
	}
}

// untilSucceeded is the end of the session, an election, a quiet wait, and a fetch.
func untilSucceeded(t Times, rng *rand.Rand) time.Duration {
	d := t.SessionTTL + t.Protocol.W + 2*time.Second
	return between(d, d+t.Protocol.W/2, rng)
}

// leftAlone has an overlap pass before the storm goes on: a fetch would hide what a late request has done.
func leftAlone(inject func(context.Context, *Scene, *rand.Rand) (Wound, error)) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		wound, err := inject(ctx, s, rng)
		if clean := wound.Clean; clean != nil && err == nil {
			wound.Clean = func(hctx context.Context) error {
				err := clean(hctx)
				traffic.Pause(ctx, s.Times.Overlap) // or until the storm is over
				return err
			}
		}
		return wound, err
	}
}

// wakeAtCommit pauses a leader that is about to write, waits until another broker is about to commit, and lets the first go on.
func wakeAtCommit(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	wound, err := pauseAt(beforeWrite)(ctx, s, rng)
	if err != nil {
		return wound, err
	}
	clean := wound.Clean
	wound.Clean = func(ctx context.Context) error { return errors.Join(clean(ctx), s.disarm(ctx, beforeCommit, nil)) }
	i := slices.IndexFunc(s.Site.Brokers, func(b *site.Broker) bool { return b.ID == wound.Replica })
	paused := s.Site.Brokers[i]
	if err := s.arm(ctx, beforeCommit, fmt.Sprintf("1*sleep(%d)", (2*s.Times.Protocol.D).Milliseconds()*3/4), paused); err != nil {
		return wound, err
	}
	switch _, err := s.meet(ctx, beforeCommit, paused, s.Times.SessionTTL+3*s.Times.Protocol.W); {
	case err == nil:
		return wound, nil // which heals it now
	case errors.Is(err, ErrMoot): // the pause has happened, and counts
		wound.Detail = "nobody was about to commit"
		return wound, nil
	default:
		return wound, err
	}
}

// depose has a leader lose its lead with an outcome in hand: it is paused when it is about to commit, until its session is over. It
// returns when that is done; stop ends what is left of it.
func (s *Scene) depose(ctx context.Context, rng *rand.Rand) (stop func()) {
	stop = s.provoke(ctx, s.classic(rng).Name, rng)
	if s.arm(ctx, beforeCommit, stopThere, nil) != nil {
		return stop
	}
	b, err := s.meetStopped(ctx, beforeCommit, rendezvous)
	_ = s.disarm(ctx, beforeCommit, b) // a broker that cannot be reached has none armed
	if err == nil {
		s.outlast(ctx, b)
	}
	return stop
}

// outlast leaves a broker that is paused as it is until its session is over.
func (s *Scene) outlast(ctx context.Context, b *site.Broker) {
	e := history.Event{
		Kind: history.Fault, Code: history.EffectPaused, Actor: "depose", Replica: b.ID, Reason: "deposed with an outcome in hand", Sent: s.Recorder.Now(),
	}
	traffic.Pause(ctx, s.Times.SessionTTL+time.Second)
	e.Received = s.Recorder.Now()
	_ = b.Resume() // it runs, or is not there any more
	s.Recorder.Add(e)
}
