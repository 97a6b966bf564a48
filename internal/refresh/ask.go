package refresh

import (
	"context"
	"errors"
	"sync"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// asked is what came of one request to the upstream.
type asked struct {
	grant   token.Grant
	failure *token.Failure // nil if there is a grant
	wrote   clock.Reading  // the last look at the clock before the write; zero if nothing was written
	after   clock.Reading  // the first look after it; meaningful if something was written
	done    clock.Reading  // when the outcome was known
}

func (a asked) written() bool { return a.wrote != (clock.Reading{}) }

// ask makes one request. Immediately before its first byte is written, allow may object, which keeps it from being written; it is told
// the time, under a lock, and must not block.
func (r *Refresher) ask(ctx context.Context, forced bool, allow func(now clock.Reading) error) asked {
	var (
		mu     sync.Mutex // the upstream's client may call back from goroutines of its own, even after it returned
		closed bool
		a      asked
	)
	grant, err := r.cfg.Upstream.Fetch(ctx, token.FetchRequest{
		Force: forced,
		BeforeWrite: func() error {
			mu.Lock()
			defer mu.Unlock()
			if closed {
				return errTooLate
			}
			now := r.cfg.Clock.Read()
			if err := allow(now); err != nil {
				return err
			}
			a.wrote = now
			return nil
		},
		AfterWrite: func() {
			now := r.cfg.Clock.Read()
			mu.Lock()
			defer mu.Unlock()
			if !closed {
				a.after = now
			}
			// gofail: var refreshAfterWrite struct{}
		},
	})
	done := r.cfg.Clock.Read()
	mu.Lock()
	defer mu.Unlock()
	closed = true

	a.grant, a.done = grant, done
	if a.written() && a.after == (clock.Reading{}) {
		a.after = done
	}
	if err != nil {
		a.failure = asFailure(err)
		a.failure.At, a.failure.Replica = done.Wall, r.cfg.Replica
		if a.written() && !a.failure.Written {
			// The client was let through and yet says that it wrote nothing: do not build on that.
			a.failure.Written, a.failure.Outcome = true, token.OutcomeUnknown
		}
	}
	return a
}

// asFailure takes the failure out of an upstream's error. An upstream that returns anything else has a bug; what it did is unknown.
func asFailure(err error) *token.Failure {
	if failure, ok := errors.AsType[*token.Failure](err); ok {
		copied := *failure
		return &copied
	}
	return &token.Failure{
		Outcome: token.OutcomeUnknown, Class: token.Bug, Written: true, Code: "internal",
		Meaning: "the broker's client for this upstream failed in an unforeseen way",
		Remedy:  "report this as a bug of the broker",
	}
}
