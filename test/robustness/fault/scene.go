package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

// lookTime is how long the question who leads may take: etcd may be away.
const lookTime = 2 * time.Second

// claim waits until nobody breaks any of the given parts, and takes them. It returns false if ctx ends before.
func (s *Scene) claim(ctx context.Context, parts Part) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.taken&parts != 0 {
		if s.freed == nil {
			s.freed = make(chan struct{})
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return nil, false
		}
	}
	s.taken |= parts
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken &^= parts
		if s.freed != nil {
			close(s.freed)
			s.freed = nil
		}
	}, true
}

// leader returns the broker that leads, and whether that could be learned; else a running one.
func (s *Scene) leader(ctx context.Context, rng *rand.Rand) (*site.Broker, error) {
	other, err := s.running(rng)
	if err != nil {
		return nil, err
	}
	lctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if b, err := s.Site.Leader(lctx); err == nil && b != nil && b.Running() {
		return b, nil
	}
	return other, nil
}

// follower returns a running broker that does not lead, as far as that could be learned.
func (s *Scene) follower(ctx context.Context, rng *rand.Rand) (*site.Broker, error) {
	leader, err := s.leader(ctx, rng)
	if err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(slices.Clone(s.Site.Brokers), func(b *site.Broker) bool { return b == leader || !b.Running() })
	if len(others) == 0 {
		return nil, fmt.Errorf("%w: one broker runs", ErrMoot)
	}
	return pick(rng, others), nil
}

// running returns a broker that runs.
func (s *Scene) running(rng *rand.Rand) (*site.Broker, error) {
	running := slices.DeleteFunc(slices.Clone(s.Site.Brokers), func(b *site.Broker) bool { return !b.Running() })
	if len(running) == 0 {
		return nil, fmt.Errorf("%w: no broker runs", ErrMoot)
	}
	return pick(rng, running), nil
}

// some returns the leader or a follower.
func (s *Scene) some(ctx context.Context, rng *rand.Rand) (*site.Broker, error) {
	if rng.IntN(2) == 0 {
		return s.leader(ctx, rng)
	}
	return s.follower(ctx, rng)
}

// classic returns a rotating token; any, if there is none.
func (s *Scene) classic(rng *rand.Rand) site.Token {
	fit := slices.DeleteFunc(slices.Clone(s.Tokens), func(t site.Token) bool { return t.Endpoint != wechattest.Classic })
	if len(fit) == 0 {
		fit = s.Tokens
	}
	return pick(rng, fit)
}

// kill makes WeChat end a value. It reports whether that lived.
func (s *Scene) kill(value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.Site.WeChat.Kill(value) {
		return false
	}
	if s.killed == nil {
		s.killed = make(map[string]bool)
	}
	s.killed[value] = true
	return true
}

// Killed reports whether the suite itself made WeChat end a value.
func (s *Scene) Killed(value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.killed[value]
}
