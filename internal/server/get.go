package server

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// shortWait is how long a caller who would take any life is kept waiting for a token that can be promised.
	shortWait = time.Second
	// longWait is how long any other caller waits who set no deadline.
	longWait = time.Minute
	// lookAgain is how often a wait looks at the token although nothing changed: see the package documentation.
	lookAgain = 200 * time.Millisecond
	// answerReserve is how long before the caller's deadline a wait ends; less where little time is left altogether.
	answerReserve = 100 * time.Millisecond
)

// getAnswer is a whole answer in one piece of memory.
type getAnswer struct {
	response tokenbrokerv1.GetTokenResponse
	tokenMessage
}

// GetToken implements the method of that name. It blocks only if the token is not active, or has less life left than the caller
// wants; see the table in the package documentation.
func (s *Server) GetToken(ctx context.Context, req *tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
	t, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	least, err := leastLife(t, req.GetMinTtl())
	if err != nil {
		return nil, err
	}
	r := t.Read()
	if !promises(r, least) {
		if r, err = s.settle(ctx, t, least); err != nil {
			return nil, err
		}
	}
	a := new(getAnswer)
	a.response.Token = a.fillWithValue(t, r)
	return &a.response, nil
}

// leastLife returns min_ttl, 0 if unset. A life that no token ever has left is refused at once: waiting for it would be in vain. That
// includes LongestPromise itself, which is more than is ever promised.
func leastLife(t *view.Token, minTTL *durationpb.Duration) (time.Duration, error) {
	if minTTL == nil {
		return 0, nil
	}
	if err := minTTL.CheckValid(); err != nil {
		return 0, badRequest("min_ttl", "not a valid duration")
	}
	least := minTTL.AsDuration()
	if least < 0 {
		return 0, badRequest("min_ttl", "must not be negative")
	}
	if longest := t.LongestPromise(); least >= longest && least > 0 {
		return 0, tooLong(t.Name(), least, longest)
	}
	return least, nil
}

// promises reports whether a reading promises the least life. A token without a promise satisfies nobody, not even a caller who wants
// no life in particular: for such a token a short wait may bring a better one.
func promises(r view.Reading, least time.Duration) bool {
	return r.State == view.Active && r.TTL >= least
}

// settle waits for a reading that promises the least life, and says what to answer when none came: the suspect token where the
// caller would take it, else why there is nothing.
func (s *Server) settle(ctx context.Context, t *view.Token, least time.Duration) (view.Reading, error) {
	waiting, cancel := patience(ctx)
	defer cancel()
	if least == 0 {
		limit := shortWait
		if !t.Read().InSync {
			limit = 0 // cut off: no commit would be seen
		}
		waiting, cancel = context.WithTimeoutCause(waiting, limit, errPatience)
		defer cancel()
	}
	r, err := s.await(waiting, t, func(r view.Reading) bool { return promises(r, least) })
	switch {
	case promises(r, least):
		return r, nil
	case !errors.Is(err, errPatience) && !errors.Is(err, errDraining):
		return r, err
	case r.State == view.Expired:
		return r, s.noToken(t, r)
	case least == 0:
		return r, nil
	case errors.Is(err, errDraining):
		return r, err
	default:
		return r, tooShort(t.Name(), r.TTL, least)
	}
}

// errPatience ends a wait that has lasted long enough.
var errPatience = errors.New("waited long enough")

// patience derives the context of a wait: it ends a little before the deadline of ctx, or after longWait where there is none, with the
// cause errPatience.
func patience(ctx context.Context) (context.Context, context.CancelFunc) {
	wait := longWait
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		wait = left - min(left/4, answerReserve)
	}
	return context.WithTimeoutCause(ctx, wait, errPatience)
}

// await blocks until a reading is enough, and returns the newest reading in any case. Its errors are errDraining, the cause of the end
// of ctx, and the refusal for a token that was taken out of the configuration.
func (s *Server) await(ctx context.Context, t *view.Token, enough func(view.Reading) bool) (view.Reading, error) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		changed := t.Changed()
		r := t.Read()
		if t.Removed() {
			return r, s.removed(t.Name())
		}
		if enough(r) {
			return r, nil
		}
		if err := s.pause(ctx, changed, tick.C); err != nil {
			return t.Read(), err
		}
	}
}

// pause blocks until the token changes or the clock ticks, and returns nil; or until the wait is over, and returns why.
func (s *Server) pause(ctx context.Context, changed <-chan struct{}, tick <-chan time.Time) error {
	select {
	case <-changed:
		return nil
	case <-tick:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.draining:
		return errDraining
	}
}

// removed is the error for a token that is no longer the configured one of its name.
func (s *Server) removed(name string) error {
	if _, err := s.find(name); err != nil {
		return err
	}
	return errReconfigured
}
