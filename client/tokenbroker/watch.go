package tokenbroker

import (
	"context"
	"iter"
	"time"
)

// Watch yields the token of that name as soon as there is one, and then each newer version and each change of its state; of several changes
// that come while the body of the loop runs, the last. While there is no living token it yields an error in its place: once, and again when
// the reason is another one.
//
// It goes on until the loop is left, or with an error as its last word: when ctx ends, when the client is closed, or when the broker says
// that there is no such token. It makes no call of its own, so any number may watch.
func (c *Client) Watch(ctx context.Context, name string) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		f, err := c.follow(name)
		if err != nil {
			yield(Token{}, err)
			return
		}
		var told sight
		for {
			now := f.look()
			if now.differs(told) {
				if !yield(now.token, now.err()) {
					return
				}
				told = now
				continue // the body may have taken long
			}
			if now.over {
				return
			}
			if err := f.pauseUntil(ctx, now); err != nil {
				yield(Token{}, err)
				return
			}
		}
	}
}

// sight is what there is to see of a token at one moment.
type sight struct {
	token   Token
	state   State
	verdict *Error // if there is no token
	over    bool
	changed <-chan struct{}
}

// look returns what there is to see now.
func (f *follower) look() sight {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := sight{over: f.over, changed: f.changed}
	if h := f.held.Load(); h != nil {
		s.token = Token{h}
		s.state = s.token.State()
	}
	if s.state == Expired {
		s.token, s.verdict = Token{}, f.verdict
	}
	return s
}

// err returns why there is no token; nil if there is one, or nothing is known yet.
func (s sight) err() error {
	if s.verdict == nil {
		return nil
	}
	return s.verdict
}

// differs reports whether somebody must be told who was told of another sight before.
func (s sight) differs(told sight) bool {
	if s.token.IsZero() && s.verdict == nil {
		return false // it is not known yet what comes next
	}
	if s.verdict != nil && told.verdict != nil {
		return s.verdict.Reason != told.verdict.Reason || s.verdict.Code != told.verdict.Code
	}
	return s.token.Version() != told.token.Version() || s.token.Value() != told.token.Value() || s.state != told.state || (s.verdict == nil) != (told.verdict == nil)
}

// pauseUntil blocks until there may be something else to see.
func (f *follower) pauseUntil(ctx context.Context, s sight) error {
	if s.token.IsZero() {
		return f.pause(ctx, s.changed)
	}
	end := s.token.held.promised
	if s.state != Active {
		end = s.token.held.nominal
	}
	timer := time.NewTimer(end.sub(f.client.clock.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.changed:
		return nil
	case <-f.client.life.Done():
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
