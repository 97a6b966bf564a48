package tokenbroker

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// Conn returns the connection to the brokers, for calls that Client has no method for. It is closed with the client.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// TokenFor is Token for one caller who wants at least so much life left. If what is held is promised for less, the broker is asked, and waits
// for a token that has as much, within the time of ctx. What comes of it is held, for everybody.
//
// A life that the broker can never promise is an error; so is the end of ctx, with DEADLINE_EXCEEDED as its code.
func (c *Client) TokenFor(ctx context.Context, name string, least time.Duration) (Token, error) {
	f, err := c.follow(name)
	if err != nil {
		return Token{}, err
	}
	ctx, cancel := c.patience(ctx)
	defer cancel()
	retry := newBackOff(firstRetry, longestRetry)
	for {
		if h := f.held.Load(); h != nil && c.clock.now() < h.promised.add(-least) {
			return Token{h}, nil
		}
		sent := c.clock.look()
		response, err := c.api.GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: name, MinTtl: durationpb.New(least)})
		if err != nil {
			return Token{}, newError(name, err)
		}
		f.take(sent, response.GetToken(), nil)
		if h := f.held.Load(); h != nil && c.clock.now() < h.promised.add(-least) {
			return Token{h}, nil
		}
		again := time.NewTimer(retry.NextBackOff()) // it was a replica that lags behind, or the answer took long
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return Token{}, f.late(context.Cause(ctx))
		}
	}
}
