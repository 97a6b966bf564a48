package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// outlookTime bounds the look at what an order will have to wait for.
const outlookTime = 5 * time.Second

// tellQuiet says on standard error that an order will wait because the upstream is left in peace, and until about when. If that cannot be
// learned, or a forced order will be refused, it says nothing: the order itself tells what is wrong. It blocks for a quarter of c.timeout
// at most.
func (c *client) tellQuiet(ctx context.Context, name string, force bool) {
	one := *c
	one.timeout = min(c.timeout/4, outlookTime)
	var quiet time.Duration
	_ = one.call(ctx, operatorConfig, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) error {
		resp, err := tokenbrokerv1.NewAdminServiceClient(conn).GetStatus(ctx, &tokenbrokerv1.GetStatusRequest{}, opts...)
		for _, t := range resp.GetTokens() {
			if t.GetName() == name && !(force && t.GetRotating()) {
				quiet = quietFor(c.now(), t)
			}
		}
		return err
	})
	if quiet < time.Second {
		return
	}
	fmt.Fprintf(c.err, "Waiting: after the last fetch or change of leaders the upstream is left in peace, until about %s (%s from now). Then %s is fetched.\n",
		c.now().Add(quiet).Format("15:04:05"), span(quiet), name)
	if quiet >= c.timeout {
		fmt.Fprintf(c.err, "--timeout, %v, ends before that. The order stands all the same, and broker status shows what came of it; --timeout %s waits for it.\n",
			c.timeout, short((quiet + 90*time.Second).Truncate(time.Minute)))
	}
}

// quietFor is how long the upstream of a token is still left in peace; not positive if it is not.
func quietFor(now time.Time, t *tokenbrokerv1.TokenStatus) time.Duration {
	if t.GetQuietUntil() == nil {
		return 0
	}
	return t.GetQuietUntil().AsTime().Sub(now)
}
