package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
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

// refresh has the leader fetch a token, through any broker that runs: what strikes fetches needs one to strike. It waits for the answer.
func (s *Scene) refresh(ctx context.Context, name string, rng *rand.Rand) error {
	b, err := s.running(rng)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Times.Protocol.W+s.Times.Protocol.F)
	defer cancel()
	e := history.Event{Kind: history.Refresh, Actor: Actor, Replica: b.ID, Token: name, Sent: s.Recorder.Now()}
	resp, err := tokenbrokerv1.NewAdminServiceClient(b.Conn()).RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: name})
	e.Received, e.Code = s.Recorder.Now(), status.Code(err).String()
	if err != nil {
		e.Detail = status.Convert(err).Message()
	} else {
		tok := resp.GetToken()
		e.Answer = &history.Answer{
			Version: tok.GetVersion(), TTL: tok.GetTtl().AsDuration(), Local: tok.GetLocal(),
			State: strings.ToLower(strings.TrimPrefix(tok.GetState().String(), "TOKEN_STATE_")),
		}
	}
	s.Recorder.Add(e)
	return err
}

// provoke has a token fetched a moment later, at times, without waiting for the answer. The call is made in the background; stop ends
// it and waits until it has gone.
func (s *Scene) provoke(ctx context.Context, name string, rng *rand.Rand) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	after, choices := between(0, 2*time.Second, rng), rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
	go func() {
		defer close(ended)
		if pause(ctx, after) {
			_ = s.refresh(ctx, name, choices) // whatever comes of it is in the history
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

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
		if !pause(ctx, time.Second) {
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
