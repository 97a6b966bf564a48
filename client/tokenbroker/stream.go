package tokenbroker

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// Waits before a stream that ended is opened again.
	firstReopen   = 500 * time.Millisecond
	longestReopen = time.Minute
	// reopenUnknown is the wait after a broker, or something in front of it, said that it knows no streams.
	reopenUnknown = 10 * time.Minute
)

// listen keeps a stream open until ctx ends.
func (f *follower) listen(ctx context.Context) {
	reopen := newBackOff(firstReopen, longestReopen)
	for ctx.Err() == nil {
		err := f.hear(ctx, reopen)
		wait := reopen.NextBackOff()
		if status.Code(err) == codes.Unimplemented {
			wait = reopenUnknown
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// hear follows one stream to its end. A message tells that something changed and nothing else counts: how long it was under way nobody
// knows, so that its ttl means nothing. What is to be believed is asked for.
func (f *follower) hear(ctx context.Context, reopen *backoff.ExponentialBackOff) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.client.api.WatchToken(ctx, &tokenbrokerv1.WatchTokenRequest{Name: f.name})
	for heard := false; ; heard = true {
		var message *tokenbrokerv1.WatchTokenResponse
		if err == nil {
			message, err = stream.Recv()
		}
		if err != nil {
			if !heard {
				f.streaming(false)
			}
			return err
		}
		reopen.Reset()
		f.streaming(true)
		f.hint(message.GetToken())
	}
}

// streaming notes whether streams work. When they cease to, polling more often begins with a first time now.
func (f *follower) streaming(works bool) {
	f.mu.Lock()
	ceased := f.streams && !works
	f.streams = works
	f.mu.Unlock()
	if ceased {
		f.ask()
	}
}

// hint asks for the token if a message tells of anything that is not known.
func (f *follower) hint(t *tokenbrokerv1.Token) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.client.clock.now()
	if f.floor.bars(t.GetVersion(), now) {
		return // a replica that lags behind
	}
	f.pushed = max(f.pushed, t.GetVersion())
	if t.GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED {
		f.expired = max(f.expired, t.GetVersion())
	}
	h := f.held.Load()
	if h == nil && f.verdict == nil && f.report == nil {
		return // the first answer is under way
	}
	if h == nil || h.version != t.GetVersion() || h.state(now) != Active || t.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
		f.ask()
	}
}
