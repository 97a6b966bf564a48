package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// members are the faults of etcd itself.
func members() []Fault {
	return []Fault{
		{
			Name: "etcd-leader-cut", About: "the member that leads etcd and the others hear nothing of each other; brokers reach all",
			Weight: 2, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: lasting(time.Second, 15*time.Second), Inject: cutEtcdLeader,
		},
		{
			Name: "etcd-member-lost", About: "kill -9 of the member that leads etcd, started again later",
			Weight: 2, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: lasting(time.Second, 10*time.Second), Inject: loseEtcdLeader,
		},
		{
			Name: "etcd-no-quorum", About: "kill -9 of all members but one, started again later",
			Weight: 2, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: lasting(2*time.Second, 20*time.Second), Inject: loseQuorum,
		},
		{
			Name: "etcd-away", About: "kill -9 of all members, started again with their data after more than the overlap",
			Weight: 2, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: beyondOverlap, Inject: loseEtcd,
		},
		{
			Name: "etcd-restart", About: "kill -9 of all members, started again with their data at once",
			Weight: 2, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: lasting(0, time.Second), Inject: loseEtcd,
		},
		{
			Name: "etcd-leader-moves", About: "etcd's leader moves up to three times; each time all leases get their full TTL back",
			Weight: 3, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: lasting(0, time.Second), Inject: moveEtcdLeader,
		},
		{
			Name: "pause-etcd-leader", About: "SIGSTOP of the member that leads etcd for 1 s to beyond the session's TTL and the quiet wait, then SIGCONT: it wakes deposed",
			Weight: 2, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: paused, Inject: suspendMember((*Scene).etcdLeader),
		},
		{
			Name: "pause-etcd-follower", About: "the same with another member: what speaks to it hears nothing, and is not told",
			Weight: 1, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: paused, Inject: suspendMember((*Scene).etcdFollower),
		},
		{
			Name: "etcd-full", About: "etcd's space is used up: it raises its alarm and refuses writes",
			Weight: 1, Breaks: Etcd, Effects: []string{history.EffectCut}, Lasts: lasting(2*time.Second, 25*time.Second), Inject: fillEtcd,
		},
	}
}

func beyondOverlap(t Times, rng *rand.Rand) time.Duration {
	return between(t.Overlap+t.Overlap/5, 3*t.Overlap, rng)
}

func cutEtcdLeader(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	m, err := s.Site.EtcdLeader(ctx)
	if err != nil {
		return Wound{}, err
	}
	m.Peers.Hold(netfault.Both)
	stop := s.provoke(ctx, pick(rng, s.Tokens).Name, rng)
	return Wound{Detail: m.Name, Heal: func(context.Context) error { m.Peers.Heal(); return nil }, Clean: ending(stop)}, nil
}

func loseEtcdLeader(ctx context.Context, s *Scene, _ *rand.Rand) (Wound, error) {
	m, err := s.Site.EtcdLeader(ctx)
	if err != nil {
		return Wound{}, err
	}
	return Wound{Detail: m.Name, Heal: m.Start}, m.Kill()
}

func (s *Scene) etcdLeader(ctx context.Context, _ *rand.Rand) (*site.Member, error) {
	return s.Site.EtcdLeader(ctx)
}

func (s *Scene) etcdFollower(ctx context.Context, rng *rand.Rand) (*site.Member, error) {
	leader, err := s.Site.EtcdLeader(ctx)
	if err != nil {
		return nil, err
	}
	return pick(rng, slices.DeleteFunc(slices.Clone(s.Site.Members), func(m *site.Member) bool { return m == leader })), nil
}

// suspendMember pauses a member: its connections stay open, and the kernel takes new ones for it.
func suspendMember(choose func(*Scene, context.Context, *rand.Rand) (*site.Member, error)) func(context.Context, *Scene, *rand.Rand) (Wound, error) {
	return func(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
		m, err := choose(s, ctx, rng)
		if err != nil {
			return Wound{}, err
		}
		if err := m.Pause(); err != nil {
			return Wound{}, err
		}
		stop := s.provoke(ctx, pick(rng, s.Tokens).Name, rng)
		return Wound{Detail: m.Name, Heal: func(context.Context) error { return m.Resume() }, Clean: ending(stop)}, nil
	}
}

func loseQuorum(_ context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	spared := rng.IntN(len(s.Site.Members))
	detail := "but " + s.Site.Members[spared].Name
	for i, m := range s.Site.Members {
		if i == spared {
			continue
		}
		if err := m.Kill(); err != nil {
			return Wound{Heal: s.startMembers}, err
		}
	}
	return Wound{Detail: detail, Heal: s.startMembers}, nil
}

func loseEtcd(_ context.Context, s *Scene, _ *rand.Rand) (Wound, error) {
	for _, m := range s.Site.Members {
		if err := m.Kill(); err != nil {
			return Wound{Heal: s.startMembers}, err
		}
	}
	return Wound{Heal: s.startMembers}, nil
}

// startMembers starts every member that does not run.
func (s *Scene) startMembers(ctx context.Context) error {
	var errs []error
	for _, m := range s.Site.Members {
		errs = append(errs, m.Start(ctx))
	}
	return errors.Join(errs...)
}

// moveEtcdLeader moves the lead at most three times, a moment apart.
func moveEtcdLeader(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	for range 1 + rng.IntN(3) {
		from, err := s.Site.EtcdLeader(ctx)
		if err != nil {
			return Wound{}, err
		}
		to := pick(rng, s.Site.Members)
		if to == from {
			continue
		}
		if err := s.Site.MoveEtcdLeader(ctx, to); err != nil {
			return Wound{}, err
		}
		traffic.Pause(ctx, between(0, time.Second, rng))
	}
	return Wound{}, nil
}

func fillEtcd(ctx context.Context, s *Scene, rng *rand.Rand) (Wound, error) {
	wound := Wound{Heal: s.Site.FreeEtcd}
	if err := s.Site.FillEtcd(ctx); err != nil {
		return wound, err
	}
	wound.Clean = ending(s.provoke(ctx, pick(rng, s.Tokens).Name, rng))
	return wound, nil
}
