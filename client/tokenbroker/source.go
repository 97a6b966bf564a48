package tokenbroker

import (
	"context"
	"sync/atomic"
)

// Source is one token of a client. The shapes that other libraries want are made from it. Reading through a Source is a little faster than
// through Client.Token, which has to find the name first.
type Source struct {
	client   *Client
	name     string
	follower atomic.Pointer[follower]
}

// Source returns the source of a token. It asks for nothing yet.
func (c *Client) Source(name string) *Source { return &Source{client: c, name: name} }

// Name returns the token's name.
func (s *Source) Name() string { return s.name }

// Token is Client.Token.
func (s *Source) Token(ctx context.Context) (Token, error) {
	if f := s.follower.Load(); f != nil {
		if h := f.held.Load(); h != nil && s.client.clock.now() < h.usable {
			return Token{h}, nil
		}
	}
	f, err := s.client.follow(s.name)
	if err != nil {
		return Token{}, err
	}
	s.follower.Store(f)
	return f.wait(ctx)
}

// Invalid is Client.Invalid.
func (s *Source) Invalid(ctx context.Context, refused Token) (Token, error) {
	return s.client.Invalid(ctx, refused)
}

// report is Invalid for those who do not want the newer token, or not yet.
func (s *Source) report(refused Token) {
	if f, err := s.client.follow(s.name); err == nil {
		f.refer(refused)
	}
}
