package tokenbroker

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// Most calls of the broker are a follower's. These are made for one caller, and end with his context; what they bring is taken in like any
// other answer.

// TokenFor is Token for one caller who wants at least so much life left. If what is held is promised for less, the broker is asked, and waits
// for a token that has as much, within the time of ctx. What comes of it is held, for everybody.
//
// If the broker says that there will be none in time, or can never be, that comes back as an *Error.
func (c *Client) TokenFor(ctx context.Context, name string, least time.Duration) (Token, error) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	retry := newBackOff(firstRetry, longestRetry)
	for {
		f, err := c.follow(name) // each time: it may have ended by itself
		if err != nil {
			return Token{}, err
		}
		if t := f.lasting(least); !t.IsZero() {
			return t, nil
		}
		sent := c.clock.look()
		response, err := c.api.GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: name, MinTtl: durationpb.New(least)})
		if err != nil {
			return Token{}, f.failure(ctx, err)
		}
		f.take(sent, response.GetToken(), nil)
		if t := f.lasting(least); !t.IsZero() {
			return t, nil
		}
		// It was a replica that lags behind, or the answer took long.
		if err := f.rest(ctx, retry.NextBackOff()); err != nil {
			return Token{}, err
		}
	}
}

// InvalidVersion is Invalid for whoever knows the refused token by its version only, such as one who passes on what others report. A version
// that is newer than the one held is the broker's to judge: nothing is given up for it, and the report ends with ctx.
func (c *Client) InvalidVersion(ctx context.Context, name string, version int64) (Token, error) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	held, err := c.Token(ctx, name)
	switch {
	case err != nil:
		return Token{}, err
	case version < held.Version():
		return held, nil
	case version == held.Version():
		return c.Invalid(ctx, held)
	}
	f, err := c.follow(name)
	if err != nil {
		return Token{}, err
	}
	sent := c.clock.look()
	response, err := c.api.ReportInvalidToken(ctx, reportOf(name, version))
	if err != nil {
		return Token{}, f.failure(ctx, err)
	}
	f.take(sent, response.GetToken(), nil)
	return f.wait(ctx)
}

// lasting returns what is held if it is promised for so long.
func (f *follower) lasting(least time.Duration) Token {
	if h := f.held.Load(); h != nil && f.client.clock.now() < h.promised.add(-least) {
		return Token{h}
	}
	return Token{}
}

// rest blocks for some time. Its error is the end of ctx or of the client.
func (f *follower) rest(ctx context.Context, d time.Duration) error {
	over := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	return f.pause(ctx, over)
}

// failure is what to tell a caller whose own call of the broker failed.
func (f *follower) failure(ctx context.Context, err error) error {
	said := newError(f.name, err)
	switch {
	case f.client.life.Err() != nil:
		return ErrClosed
	case ctx.Err() != nil && said.Reason == "":
		return f.late(context.Cause(ctx))
	default:
		return said
	}
}
