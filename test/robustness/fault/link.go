package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// realG is WeChat's G, by which the literal delay of a slow etcd is scaled.
const (
	realG     = 5 * time.Second
	realDelay = 1500 * time.Millisecond
	// callTime is after how long a broker gives up a call to etcd.
	callTime = 3 * time.Second
)

// links are the faults of the network between brokers and etcd.
func links() []Fault {
	return []Fault{
		{
			Name: "cut-off", About: "one broker and etcd hear nothing of each other: connections are silent",
			Weight: 3, Breaks: Links, Effects: []string{history.EffectCut}, Lasts: apart, Inject: hold(netfault.Both),
		},
		{
			Name: "cut-off-deaf", About: "one broker hears nothing of etcd, which hears it",
			Weight: 3, Breaks: Links, Effects: []string{history.EffectCut}, Lasts: apart, Inject: hold(netfault.ToClient),
		},
		{
			Name: "cut-off-mute", About: "etcd hears nothing of one broker; what it says arrives afterwards",
			Weight: 3, Breaks: Links, Effects: []string{history.EffectCut}, Lasts: apart, Inject: hold(netfault.ToServer),
		},
		{
			Name: "cut-off-refused", About: "one broker's connections to etcd break, and new ones are refused",
			Weight: 2, Breaks: Links, Effects: []string{history.EffectCut}, Lasts: apart, Inject: cutOff,
		},
		{
			Name: "etcd-slow", About: "etcd's answers to all brokers are late, by as much of G as 1.5 s are of WeChat's 5 s",
			Weight: 2, Breaks: Links, Effects: []string{history.EffectCut}, Lasts: lasting(3*time.Second, 20*time.Second),
			Inject: slow(func(t Times) time.Duration {
				return time.Duration(t.Protocol.G.Seconds() / realG.Seconds() * float64(realDelay))
			}),
		},
		{
			Name: "etcd-very-slow", About: "etcd's answers to all brokers are 1.5 s late",
			Weight: 1, Breaks: Links, Effects: []string{history.EffectCut}, Lasts: lasting(3*time.Second, 15*time.Second),
			Inject: slow(func(Times) time.Duration { return realDelay }),
		},
		{
			Name: "answers-late", About: "etcd's answers to one follower come later than what W falls short of the overlap, but before a call gives up",
			Weight: 2, Breaks: Links, Effects: []string{history.EffectCut}, Lasts: lasting(8*time.Second, 25*time.Second), Inject: delayAnswers,
		},
		{
			Name: "requests-late", About: "what the leader says to one member arrives when its call has given up; it speaks to the others as ever",
			Weight: 2, Breaks: Links, Effects: []string{history.EffectCut}, Lasts: lasting(10*time.Second, 25*time.Second), Inject: delayRequests,
		},
		{
			Name: "compaction", About: "etcd forgets its history while the watch of one broker is held up and tokens change",
			Weight: 2, Breaks: Links | Etcd, Effects: []string{history.EffectCut}, Lasts: lasting(0, time.Second), Inject: compact,
		},
	}
}

// apart is how long a broker is cut off: from less than anybody notices to beyond all that it can promise.
func apart(t Times, rng *rand.Rand) time.Duration {
	switch rng.IntN(3) {
	case 0:
		return between(500*time.Millisecond, t.SessionTTL, rng)
	case 1:
		return between(t.SessionTTL, t.SessionTTL+t.Protocol.W, rng)
	default:
		return between(t.Protocol.W, t.Protocol.W+2*t.Overlap, rng)
	}
}

func hold(way netfault.Direction) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		return s.isolate(ctx, rng, func(b *site.Broker) { b.Etcd.Hold(way) })
	}
}

func cutOff(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	return s.isolate(ctx, rng, func(b *site.Broker) { b.Etcd.Cut() })
}

// isolate breaks one broker's network to etcd, at times with a fetch under way.
func (s *Scene) isolate(ctx context.Context, rng *rand.Rand, breakIt func(*site.Broker)) (Wound, error) {
	b, err := s.some(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	stop := func() {}
	if rng.IntN(2) == 0 {
		stop = s.provoke(ctx, pick(rng, s.Tokens).Name, rng)
		traffic.Pause(ctx, between(0, 2*time.Second, rng))
	}
	breakIt(b)
	return Wound{Replica: b.ID, Heal: mended(b.Etcd), Clean: ending(stop)}, nil
}

// mended heals a broker's network.
func mended(n netfault.Network) func(context.Context) error {
	return func(context.Context) error { n.Heal(); return nil }
}

func slow(by func(Times) time.Duration) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		late := by(s.Times)
		for _, b := range s.Site.Brokers {
			b.Etcd.Delay(netfault.ToClient, late)
		}
		stop := s.provoke(ctx, pick(rng, s.Tokens).Name, rng)
		return Wound{Detail: fmt.Sprintf("by %v", late), Heal: func(context.Context) error {
			for _, b := range s.Site.Brokers {
				b.Etcd.Heal()
			}
			return nil
		}, Clean: ending(stop)}, nil
	}
}

// compact holds up what etcd tells one broker, has a token fetched, and compacts.
func compact(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	b, err := s.follower(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	b.Etcd.Hold(netfault.ToClient)
	wound := Wound{Replica: b.ID, Heal: mended(b.Etcd)}
	if err := s.refresh(ctx, pick(rng, s.Tokens).Name, rng); err != nil {
		wound.Detail = "no token changed"
	}
	return wound, s.Site.Compact(ctx)
}

func delayAnswers(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	b, err := s.follower(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	least := s.Times.Overlap - s.Times.Protocol.W
	late := between(least+(callTime-least)/5, least+(callTime-least)*4/5, rng)
	b.Etcd.Delay(netfault.ToClient, late)
	return Wound{Replica: b.ID, Detail: fmt.Sprintf("by %v", late), Heal: mended(b.Etcd)}, nil
}

// delayRequests delays the leader's way to one member, and has one token fetched after the other meanwhile.
func delayRequests(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	b, err := s.leader(ctx, rng)
	if err != nil {
		return Wound{}, err
	}
	late := between(callTime*6/5, callTime*2, rng)
	pick(rng, b.Etcd).Delay(netfault.ToServer, late)
	var stops []func()
	for range 2 {
		stops = append(stops, s.provoke(ctx, pick(rng, s.Tokens).Name, rng))
	}
	return Wound{Replica: b.ID, Detail: fmt.Sprintf("by %v", late), Heal: mended(b.Etcd), Clean: ending(stops...)}, nil
}
