package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/internal/token"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// shortWait is how long a caller who would take any life is kept waiting when a token that was known has ended.
	shortWait = time.Second
	// firstWait is the same for a token that there never was: a broker has to be found first.
	firstWait = 5 * time.Second
	// longWait is how long any other caller waits who set no deadline.
	longWait = time.Minute
	// answerReserve is how long before the caller's deadline a wait ends; less where little time is left altogether.
	answerReserve = 100 * time.Millisecond
)

// GetToken implements the method of that name. It answers from memory, and follows the token from now on. It blocks only if there is
// nothing to hand out, or less life left than the caller wants.
func (s *service) GetToken(ctx context.Context, req *tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
	least, err := leastLife(req.GetMinTtl())
	if err != nil {
		return nil, err
	}
	if err := s.admit(req.GetName()); err != nil {
		return nil, err
	}
	t, err := s.get(ctx, req.GetName(), least)
	if err != nil {
		return nil, err
	}
	return &tokenbrokerv1.GetTokenResponse{Token: t}, nil
}

func checkName(name string) error {
	if err := token.ValidateName(name); err != nil {
		return badRequest("name", err.Error())
	}
	return nil
}

// leastLife returns min_ttl, 0 if unset. What is more than can ever be promised a broker will refuse.
func leastLife(minTTL *durationpb.Duration) (time.Duration, error) {
	if minTTL == nil {
		return 0, nil
	}
	if minTTL.CheckValid() != nil {
		return 0, badRequest("min_ttl", "not a valid duration")
	}
	if minTTL.AsDuration() < 0 {
		return 0, badRequest("min_ttl", "must not be negative")
	}
	return minTTL.AsDuration(), nil
}

// get returns a token as it is at this moment, with the least life, or says why there is none.
func (s *service) get(ctx context.Context, name string, least time.Duration) (*tokenbrokerv1.Token, error) {
	waiting, cancel := patience(ctx, s.limit(name, least))
	defer cancel()
	for {
		var held tokenbroker.Token
		var err error
		if least > 0 {
			held, err = s.client.TokenFor(waiting, name, least)
		} else {
			held, err = s.client.Token(waiting, name)
		}
		if err != nil {
			return s.instead(ctx, name, least, err)
		}
		s.known.LoadOrStore(name, true)
		t := describe(held)
		if t.GetTtl().AsDuration() >= least && t.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED {
			return t, nil // and not older than a moment, however long this goroutine had to stand still
		}
	}
}

// instead answers where no token came that is promised for long enough: the doubtful one, if the caller takes any, or the reason.
func (s *service) instead(ctx context.Context, name string, least time.Duration, err error) (*tokenbrokerv1.Token, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if said, ok := spoken(err); ok {
		return nil, said
	}
	held, _ := s.look(name)
	switch t := describe(held); {
	case held.IsZero(), t.GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED:
		return nil, unreachable(name)
	case least > 0:
		return nil, tooShort(name, t.GetTtl().AsDuration(), least)
	default:
		return t, nil
	}
}

// limit is how long a call for a token waits at most.
func (s *service) limit(name string, least time.Duration) time.Duration {
	if least > 0 {
		return longWait
	}
	if _, known := s.known.Load(name); known {
		return shortWait
	}
	return firstWait
}

// patience derives the context of a wait: it ends a little before the deadline of ctx, so that there is time for an answer, and after the
// longest wait at the latest.
func patience(ctx context.Context, longest time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		longest = min(longest, left-min(left/4, answerReserve))
	}
	return context.WithTimeout(ctx, longest)
}

// look returns what is held of a token that is followed, or why nothing is; neither, if that is not known, or the token is not followed.
// It does not block.
func (s *service) look(name string) (tokenbroker.Token, error) {
	if !slices.Contains(s.client.Names(), name) {
		return tokenbroker.Token{}, nil
	}
	return s.lookFirst(name)
}

// lookFirst is look for a token that may not be followed yet: it is from now on.
func (s *service) lookFirst(name string) (tokenbroker.Token, error) {
	for held, err := range s.client.Watch(s.past, name) { // tells at once what there is to tell, and then that the time is over
		if errors.Is(err, context.Canceled) {
			return tokenbroker.Token{}, nil
		}
		return held, err
	}
	return tokenbroker.Token{}, nil
}

// describe says of a token what a broker would: the life that is promised from this moment on, and no value once it has ended.
func describe(held tokenbroker.Token) *tokenbrokerv1.Token {
	t := &tokenbrokerv1.Token{
		Name: held.Name(), Version: held.Version(), Local: held.Local(), Upstream: held.Upstream(), AppId: held.AppID(),
		State: tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED, RefreshAfter: durationpb.New(soon()),
	}
	if !held.Expires().IsZero() {
		t.ExpireTime = timestamppb.New(held.Expires())
	}
	if held.State() != tokenbroker.Expired {
		t.AccessToken, t.State = held.Value(), tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT
	}
	ttl := held.TTL() // last: nothing that takes time may come after it
	if t.Ttl = durationpb.New(ttl); ttl > 0 {
		t.State, t.RefreshAfter = tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, durationpb.New(ttl/2+rand.N(ttl/4+1))
	}
	return t
}
