package fault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// owe notes that a token needs mending: WeChat told the broker to wait for longer than a run lasts. See Settle.
func (s *Scene) owe(name string, owed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owed == nil {
		s.owed = make(map[string]bool)
	}
	s.owed[name] = owed
}

// mend has a token fetched until that succeeds: what an operator does who has mended what WeChat refused. Without it the broker would
// wait for as long as WeChat had told it to. It gives up after a while: etcd may be away.
func (s *Scene) mend(ctx context.Context, name string, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, 2*s.Times.Protocol.W)
	defer cancel()
	for {
		if err := s.refresh(ctx, name, rng); err == nil {
			s.owe(name, false)
			return
		}
		if !traffic.Pause(ctx, time.Second) {
			return
		}
	}
}

// Settle mends what could not be mended when the fault was healed. It is for the time after the last fault, and gives up when ctx ends.
func (s *Scene) Settle(ctx context.Context, rng *rand.Rand) {
	for _, tok := range s.Tokens {
		for ctx.Err() == nil && s.owes(tok.Name) {
			s.mend(ctx, tok.Name, rng)
		}
	}
}

func (s *Scene) owes(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owed[name]
}
