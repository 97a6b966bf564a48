package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// How long a call that failed in passing rests before it is repeated: doubled from the first to the longest.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
)

// complainEvery is how many tries lie between two lines in the log about the same call: half a minute or more.
const complainEvery = 30

// persist repeats call, each time with its own deadline, until it succeeds or ctx ends. what names it in the log.
//
// It does not give up either where etcd refuses (no permission, no space), but says so loudly. People mend that while the broker runs,
// and what is to be written may be a token that nobody else has: given up, it would be fetched again, on a rotating upstream after a
// long wait. Whoever has less to lose comes with a deadline.
func (s *Store) persist(ctx context.Context, what string, call func(ctx context.Context) error) error {
	pause := firstPause
	for try := 0; ; try++ {
		cctx, cancel := context.WithTimeout(ctx, s.timeout)
		err := call(cctx)
		cancel()
		if err == nil || final(err) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w (last error: %w)", what, ctx.Err(), err)
		}
		s.complain(what, try, err)
		rest(ctx, pause)
		pause = min(2*pause, longestPause)
	}
}

// complain tells people of a call that failed: of what etcd refuses at once, and of what it may have been too slow for when that has
// lasted a second or two; and now and then as long as it goes on.
func (s *Store) complain(what string, try int, err error) {
	const patient = 5 // tries
	switch remedy := remedy(err); {
	case remedy != "" && try%complainEvery == 0:
		s.log.Error("etcd refuses a call; trying again until somebody mends that", "call", what, "err", err, "remedy", remedy)
	case remedy == "" && try%complainEvery == patient:
		s.log.Warn("etcd does not answer; trying again", "call", what, "err", err)
	}
}

// remedy says what to do about an error that does not pass by itself; "" for all others.
func remedy(err error) string {
	switch {
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return "grant the broker's etcd user readwrite permission on the whole namespace"
	case errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrAuthFailed), errors.Is(err, rpctypes.ErrAuthNotEnabled):
		return "see that etcd.username and the password are those that etcd knows, or that it asks for none"
	case errors.Is(err, rpctypes.ErrNoSpace):
		return "etcd is full: compact and defragment it, then disarm its alarm"
	}
	return ""
}

// errFinal marks what is in the store and cannot be used; reading it again does not help.
var errFinal = errors.New("the store's content cannot be used")

// final reports whether repeating the call would not change its result.
func final(err error) bool {
	return errors.Is(err, errFinal) || errors.Is(err, token.ErrDeposed) || errors.Is(err, token.ErrConflict)
}
