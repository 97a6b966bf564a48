package tokenbroker

import (
	"context"
	"errors"
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
	// maxStreams is how many streams a client has open at most. A broker allows 1024 calls at once on a connection, streams included, and
	// there may be one replica only. Tokens beyond that are polled.
	maxStreams = 512
)

// errTooMany means that maxStreams are open.
var errTooMany = errors.New("too many streams are open")

// listen keeps a stream open until ctx ends. Streams end often and for good reasons: replicas shut down, and connections have a greatest age.
// Waits have jitter because all clients of a replica lose their streams at once.
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
	select {
	case f.client.streams <- struct{}{}:
		defer func() { <-f.client.streams }()
	default:
		return errTooMany
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // gRPC keeps a stream until it ends or its context does
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
