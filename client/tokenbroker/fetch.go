package tokenbroker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// attemptTime is how long one GetToken may take, repetitions at other replicas included.
	attemptTime = 5 * time.Second
	// Waits after an attempt that failed without word of when to come back.
	firstRetry   = 100 * time.Millisecond
	longestRetry = 10 * time.Second
	// How long a token is at most relied on without asking, while a stream tells of changes, and while none does.
	pollWithStream    = 5 * time.Minute
	pollWithoutStream = 30 * time.Second
)

// poll asks the broker for the token when it is time, and when somebody wants it at once. It returns when ctx ends, or when there is no
// such token and none is held.
func (f *follower) poll(ctx context.Context) {
	retry := newBackOff(firstRetry, longestRetry) // for failures; each success resets it
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-f.asked:
		case <-ctx.Done():
			return
		}
		delay, more := f.fetch(ctx, retry)
		if !more {
			return
		}
		timer.Reset(delay)
	}
}

// fetch asks the broker once, and returns when to ask again; false if never.
func (f *follower) fetch(ctx context.Context, retry *backoff.ExponentialBackOff) (time.Duration, bool) {
	request := &tokenbrokerv1.GetTokenRequest{Name: f.name}
	if least := f.client.cfg.minLife; least > 0 {
		request.MinTtl = durationpb.New(least)
	}
	calling, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	sent := f.client.clock.look() // before anything that could wait
	response, err := f.client.api.GetToken(calling, request)
	if ctx.Err() != nil {
		return 0, false
	}
	if err != nil {
		e := newError(f.name, err)
		if !f.failed(ctx, e) {
			return 0, false
		}
		return max(e.RetryAfter, retry.NextBackOff()), true
	}
	t := response.GetToken()
	if !f.take(sent, t, nil) {
		return retry.NextBackOff(), true // at the next replica
	}
	retry.Reset()
	f.recovered(ctx)
	refreshAfter := t.GetTtl().AsDuration() / 2
	if t.GetRefreshAfter() != nil {
		refreshAfter = t.GetRefreshAfter().AsDuration()
	}
	return f.nextPoll(refreshAfter - f.client.clock.now().sub(sent)), true
}

// nextPoll is when to ask again after an answer: when the broker says, but not too late to notice what no stream tells.
func (f *follower) nextPoll(refreshAfter time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	longest := pollWithoutStream
	if f.streams {
		longest = pollWithStream
	}
	return max(min(refreshAfter, longest-rand.N(longest/4)), firstRetry)
}

// failed takes in why an attempt brought nothing. It returns false if that is the end.
//
// What is held stays: no error of a broker shortens a promise. The exception is a token that the broker has condemned. The error does not say
// which version that is, and a replica may lag behind, so it counts only where a stream called the held version expired before.
func (f *follower) failed(ctx context.Context, e *Error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdict = e
	h := f.held.Load()
	if e.Reason == reasonCondemned && h != nil && f.expired == h.version {
		f.refuse(h.version, h.nominal) // before its promised end: the promise was broken by somebody else
		h = nil
	}
	f.over = e.final() && f.report == nil && (h == nil || h.state(f.client.clock.now()) == Expired)
	f.announce()
	if !f.troubled && !f.over {
		f.logger.WarnContext(ctx, "token not renewed", "err", e)
	}
	f.troubled = true
	return !f.over
}

// recovered takes in that all is well.
func (f *follower) recovered(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.troubled {
		f.logger.InfoContext(ctx, "token renewed again")
	}
	f.troubled = false
}

// unavailable is a verdict on an answer that was none of an error.
func unavailable(name, message string) *Error {
	return newError(name, status.Error(codes.Unavailable, message))
}
