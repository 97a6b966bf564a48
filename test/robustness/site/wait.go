package site

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// startTime bounds the start of a site, and healTime what Heal waits for: a loaded machine is slow.
	startTime = time.Minute
	healTime  = time.Minute
	// StopTime is how long a broker may take to shut down: a fetch in flight is settled, or given up after 20 s where etcd is away.
	StopTime = 45 * time.Second
	// signalTime is what a process may take to heed a signal that asks nothing of it but to stop.
	signalTime = 5 * time.Second
	// attemptTime bounds one try of what is tried again, and retryPace is how long after the last the next one follows.
	attemptTime = 2 * time.Second
	retryPace   = 20 * time.Millisecond
	// pingTime is after how much silence a caller's connection is tried, the least that grpc-go allows, and vanishedTime after how
	// long without an acknowledgement it is given up: all this where replicas can vanish.
	pingTime     = 10 * time.Second
	vanishedTime = 3 * time.Second
)

// finalError is one that no further try will mend.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// eventually tries something until it succeeds, fails for good, or ctx ends. Each try has a deadline.
func eventually(ctx context.Context, try func(context.Context) error) error {
	for {
		tctx, cancel := context.WithTimeout(ctx, attemptTime)
		err := try(tctx)
		cancel()
		if err == nil {
			return nil
		}
		if final, ok := errors.AsType[finalError](err); ok {
			return final.error
		}
		select {
		case <-time.After(retryPace):
		case <-ctx.Done():
			return fmt.Errorf("%w; at last: %w", context.Cause(ctx), err)
		}
	}
}
