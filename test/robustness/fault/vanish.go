package fault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// vanishings are the faults of a site with network namespaces: every packet to and from one process is lost.
func vanishings() []Fault {
	effects := []string{history.EffectCut, history.EffectVanished, history.EffectUpstream}
	return []Fault{
		{
			Name: "vanish-leader", About: "the leader's network loses every packet: it, etcd, WeChat and callers hear nothing of each other, and nobody is told (-namespaces)",
			Weight: 4, Breaks: Links, Effects: effects, Lasts: apart, Inject: vanish((*Scene).leader),
		},
		{
			Name: "vanish-follower", About: "the same with a follower (-namespaces)",
			Weight: 2, Breaks: Links, Effects: effects, Lasts: apart, Inject: vanish((*Scene).follower),
		},
		{
			Name: "vanish-etcd-member", About: "the same with a member of etcd, most often its leader: it, brokers and the others hear nothing of each other (-namespaces)",
			Weight: 2, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: lasting(time.Second, 15*time.Second), Inject: vanishMember,
		},
	}
}

// vanish has one broker vanish, most often with a fetch under way.
func vanish(choose chooser) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		b, err := choose(s, ctx, rng)
		if err != nil {
			return Wound{}, err
		}
		stop := s.provoke(ctx, pick(rng, s.Tokens).Name, rng)
		traffic.Pause(ctx, between(0, 3*time.Second, rng))
		return Wound{Replica: b.ID, Heal: func(context.Context) error {
			defer stop()
			return b.Appear()
		}}, b.Vanish()
	}
}

func vanishMember(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	m := pick(rng, s.Site.Members)
	if rng.IntN(3) > 0 {
		var err error
		if m, err = s.Site.EtcdLeader(ctx); err != nil {
			return Wound{}, err
		}
	}
	stop := s.provoke(ctx, pick(rng, s.Tokens).Name, rng)
	return Wound{Detail: m.Name, Heal: func(context.Context) error {
		defer stop()
		return m.Appear()
	}}, m.Vanish()
}
