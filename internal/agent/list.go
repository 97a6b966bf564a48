package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	tokens []tokenbroker.Token // nil before the first; not changed
	sent   time.Time           // of the request
}

// ListTokens implements the method of that name. The list is a broker's, or the last one that there was while none answers; of tokens that
// are held it says what GetToken would.
func (s *service) ListTokens(ctx context.Context, _ *tokenbrokerv1.ListTokensRequest) (*tokenbrokerv1.ListTokensResponse, error) {
	if err := s.renewList(ctx); err != nil && !s.list.stands(err) {
		return nil, err
	}
	response := &tokenbrokerv1.ListTokensResponse{}
	for _, t := range s.list.last() {
		if held, err := s.look(t.Name()); err == nil && !held.IsZero() && held.State() != tokenbroker.Expired {
			t = held
		}
		listed := describe(t)
		listed.AccessToken = ""
		response.Tokens = append(response.Tokens, listed)
	}
	return response, nil
}

// renewList asks a broker, unless it is known that none can be reached. Blocks for listTime at most.
func (s *service) renewList(ctx context.Context) error {
	ctx, cancel := patience(ctx, listTime)
	defer cancel()
	sent := time.Now()
	tokens, err := s.client.List(ctx)
	if errors.Is(err, tokenbroker.ErrClosed) {
		return err
	}
	if err != nil {
		st := status.Convert(err)
		if len(st.Details()) == 0 && (st.Code() == codes.Unavailable || st.Code() == codes.DeadlineExceeded) {
			return refusal(codes.Unavailable, ReasonUnreachable, "this agent reaches no broker, and has no list of tokens from before")
		}
		return st.Err()
	}
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	if sent.After(s.list.sent) {
		s.list.tokens, s.list.sent = tokens, sent
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

func (l *list) last() []tokenbroker.Token {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tokens
}
