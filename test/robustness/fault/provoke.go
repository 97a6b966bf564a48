package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

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
	e.Received = s.Recorder.Now()
	s.Recorder.Add(traffic.Answered(e, resp.GetToken(), err))
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
		if traffic.Pause(ctx, after) {
			_ = s.refresh(ctx, name, choices) // whatever comes of it is in the history
		}
	}()
	return func() {
		cancel()
		<-ended
	}
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
	case takesDeposed(name):
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
		e.Received = s.Recorder.Now()
		s.Recorder.Add(traffic.Answered(e, nil, err))
		return
	}
}
