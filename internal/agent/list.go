package agent

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// listTime is how long a broker may take for the list of tokens.
	listTime = 2 * time.Second
	// listEvery is how often the list is fetched although nobody asked, so that there is one when the brokers are away; and listAgain how
	// often until there is a first one.
	listEvery = time.Minute
	listAgain = 2 * time.Second
)

// list is the last list of tokens that a broker gave. It has no values.
type list struct {
	mu     sync.Mutex
	tokens []*tokenbrokerv1.Token // nil before the first; not changed
	sent   time.Time              // of the request
}

// ListTokens implements the method of that name. The list is a broker's, or the last one that there was while none answers; of tokens that
// are held it says what GetToken would.
func (s *service) ListTokens(ctx context.Context, _ *tokenbrokerv1.ListTokensRequest) (*tokenbrokerv1.ListTokensResponse, error) {
	if err := s.renewList(ctx); err != nil && !s.list.stands(err) {
		return nil, err
	}
	response := &tokenbrokerv1.ListTokensResponse{Tokens: s.list.aged()}
	for i, t := range response.Tokens {
		if held, err := s.look(t.GetName()); err == nil && !held.IsZero() && held.State() != tokenbroker.Expired {
			response.Tokens[i] = s.describe(held)
			response.Tokens[i].AccessToken = ""
		}
	}
	return response, nil
}

// renewList asks a broker, unless it is known that none can be reached. Blocks for listTime at most.
func (s *service) renewList(ctx context.Context) error {
	ctx, cancel := patience(ctx, listTime)
	defer cancel()
	sent := time.Now()
	answer, err := s.broker.ListTokens(ctx, &tokenbrokerv1.ListTokensRequest{}, grpc.WaitForReady(false))
	if err != nil {
		if st := status.Convert(err); len(st.Details()) == 0 && (st.Code() == codes.Unavailable || st.Code() == codes.DeadlineExceeded) {
			return refusal(codes.Unavailable, ReasonUnreachable, "this agent reaches no broker, and has no list of tokens from before")
		}
		return err
	}
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	if sent.After(s.list.sent) {
		s.list.tokens, s.list.sent = answer.GetTokens(), sent
	}
	return nil
}

// keepList fetches the list now and then, until ctx ends.
func (s *service) keepList(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		next := listAgain
		if s.renewList(ctx) == nil {
			next = listEvery - rand.N(listEvery/4)
		}
		timer.Reset(next)
	}
}

// stands reports whether there is a list that can be answered with although a new one could not be had.
func (l *list) stands(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tokens != nil && status.Code(err) == codes.Unavailable
}

// aged returns a copy of the list as it is true now: promises count from the sending of the request, by the clock that went faster since.
func (l *list) aged() []*tokenbrokerv1.Token {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	since := max(now.Sub(l.sent), now.Round(0).Sub(l.sent.Round(0)))
	tokens := make([]*tokenbrokerv1.Token, len(l.tokens))
	for i, old := range l.tokens {
		t := proto.CloneOf(old)
		left := max(t.GetTtl().AsDuration()-since, 0)
		t.Ttl, t.RefreshAfter = durationpb.New(left), durationpb.New(max(t.GetRefreshAfter().AsDuration()-since, 0))
		if left == 0 && t.GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
			t.State = tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT
		}
		if t.GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT {
			t.RefreshAfter = durationpb.New(soon())
			if end := t.GetExpireTime(); end != nil && !end.AsTime().After(now) {
				t.State = tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED
			}
		}
		tokens[i] = t
	}
	return tokens
}
