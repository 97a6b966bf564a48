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

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

const (
	// rendezvous is how long a failpoint is waited for, and look how often it is looked at.
	rendezvous = 10 * time.Second
	look       = 20 * time.Millisecond
	// stopThere are the terms with which a broker stops itself at a failpoint, and window how long one that runs may take to say so.
	stopThere = "1*return"
	window    = time.Second
	mostTries = 10
)

// strikeAt has the first broker that comes to a failpoint stop there, between two lines, and strikes it. What leads there is brought
// about, too.
func (s *Scene) strikeAt(ctx context.Context, name string, rng *rand.Rand, how func(*site.Broker) error, undo func(*site.Broker, context.Context) error) (Wound, error) {
	if err := s.arm(ctx, name, stopThere, nil); err != nil {
		return Wound{}, err
	}
	wound := Wound{Clean: s.disarming(name, s.bringAbout(ctx, name, rng))}
	b, err := s.meetStopped(ctx, name, rendezvous)
	if err != nil {
		return wound, errors.Join(err, s.disarm(ctx, name, nil))
	}
	wound.Replica, wound.Struck, wound.Heal = b.ID, s.Recorder.Now()-look, func(ctx context.Context) error { return undo(b, ctx) }
	if err := how(b); err != nil {
		return wound, err
	}
	return wound, s.disarm(ctx, name, b)
}

// panicAt has brokers that come to a failpoint panic there: one, or several if they come at the same moment.
func (s *Scene) panicAt(ctx context.Context, name string, rng *rand.Rand) (Wound, error) {
	armed := s.Recorder.Now()
	if err := s.arm(ctx, name, "1*panic", nil); err != nil {
		return Wound{}, err
	}
	wound := Wound{Detail: "by a panic", Heal: s.startBrokers, Clean: s.disarming(name, s.bringAbout(ctx, name, rng))}
	for began := time.Now(); time.Since(began) < rendezvous && len(s.dead()) == 0 && traffic.Pause(ctx, look); {
	}
	err := s.disarm(ctx, name, nil)
	traffic.Pause(context.WithoutCancel(ctx), 5*look) // who was dying is dead then
	dead := s.dead()
	if len(dead) == 0 {
		return wound, errors.Join(err, fmt.Errorf("%w: no broker came to %s", ErrMoot, name))
	}
	wound.Replica = dead[0].ID
	wound.Heal = func(ctx context.Context) error {
		err := s.startBrokers(ctx)
		for _, other := range dead[1:] {
			s.Recorder.Add(history.Event{
				Kind: history.Fault, Code: history.EffectKilled, Actor: "another panic", Replica: other.ID, Reason: "crash-at-" + name,
				Sent: armed, Received: s.Recorder.Now(),
			})
		}
		return err
	}
	return wound, err
}

// dead returns the brokers that do not run.
func (s *Scene) dead() []*site.Broker {
	return slices.DeleteFunc(slices.Clone(s.Site.Brokers), (*site.Broker).Running)
}

// meetStopped waits for a while until a broker has stopped at a failpoint, and returns it, paused.
func (s *Scene) meetStopped(ctx context.Context, name string, within time.Duration) (*site.Broker, error) {
	b, err := s.await(ctx, name, within, (*site.Broker).StandsStill)
	if err == nil {
		err = b.Pause()
	}
	return b, err
}

// meet waits for a while until a broker, but one, is at a failpoint, and returns it.
func (s *Scene) meet(ctx context.Context, name string, but *site.Broker, within time.Duration) (*site.Broker, error) {
	return s.await(ctx, name, within, func(b *site.Broker) bool {
		if b == but {
			return false
		}
		n, err := b.FailpointCount(ctx, name)
		return err == nil && n > 0
	})
}

// await looks again and again for a while for a broker that has come to a failpoint.
func (s *Scene) await(ctx context.Context, name string, within time.Duration, came func(*site.Broker) bool) (*site.Broker, error) {
	for began := time.Now(); time.Since(began) < within; {
		if i := slices.IndexFunc(s.Site.Brokers, came); i >= 0 {
			return s.Site.Brokers[i], nil
		}
		if !traffic.Pause(ctx, look) {
			break
		}
	}
	return nil, fmt.Errorf("%w: no broker came to %s", ErrMoot, name)
}

// arm sets the terms of a failpoint on every broker that runs, but one; or on none, if that fails.
func (s *Scene) arm(ctx context.Context, name, terms string, but *site.Broker) error {
	for _, b := range s.Site.Brokers {
		if b == but {
			continue
		}
		if err := set(ctx, b, name, terms); err != nil {
			return errors.Join(err, s.disarm(ctx, name, but))
		}
	}
	return nil
}

// armedFor are the failpoints that are armed for a strike at one of them: who is to leave an orphan must be deposed first.
func armedFor(name string) []string {
	if takesDeposed(name) {
		return []string{name, beforeCommit}
	}
	return []string{name}
}

// disarm turns a failpoint off on every broker that runs, but one, and what was armed besides for the sake of it. It lets those go on
// that have stopped there after the first.
func (s *Scene) disarm(ctx context.Context, name string, but *site.Broker) error {
	var errs []error
	for _, b := range s.Site.Brokers {
		for _, each := range armedFor(name) {
			if b != but {
				errs = append(errs, set(ctx, b, each, ""))
			}
		}
	}
	traffic.Pause(context.WithoutCancel(ctx), look) // somebody may have come there just before
	return errors.Join(append(errs, s.release(but))...)
}

// release lets every broker go on, but one: it may have stopped itself at a failpoint. To go on harms nobody who runs.
func (s *Scene) release(but *site.Broker) error {
	var errs []error
	for _, b := range s.Site.Brokers {
		if b != but {
			errs = append(errs, b.Resume())
		}
	}
	return errors.Join(errs...)
}

// set sets the terms of a failpoint, also when the run ends meanwhile: it must be known whether they are set. A broker that stands still
// at a failpoint does not answer, and is let go on; one that has just started knows its failpoints a moment later.
func set(ctx context.Context, b *site.Broker, name, terms string) error {
	ctx = context.WithoutCancel(ctx)
	for try := 1; ; try++ {
		actx, cancel := context.WithTimeout(ctx, window)
		err := b.Failpoint(actx, name, terms)
		cancel()
		switch {
		case err == nil || !b.Running():
			return nil
		case try < mostTries:
		case strings.Contains(err.Error(), runtime.ErrNoExist.Error()):
			return fmt.Errorf("%w: %s is in no package of the broker", ErrMoot, name)
		default:
			return err
		}
		if err := b.Resume(); err != nil {
			return err
		}
		traffic.Pause(ctx, 5*look)
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
