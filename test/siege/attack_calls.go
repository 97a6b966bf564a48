package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// callAttacks are by somebody who is known, and asks for more than a share.
func callAttacks() []attack {
	return []attack{
		{
			name: "calls-grpc", does: "one identity calls GetToken 3000 times a second over 8 connections",
			stops: "`limits.rate`: what is above it is refused before the handler",
			run: func(ctx context.Context, t target, n *tally) error {
				return callGRPC(ctx, t.way, 8, 3000, func(ctx context.Context, c *grpc.ClientConn) error {
					_, err := tokenbrokerv1.NewTokenBrokerServiceClient(c).GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: t.Still})
					return err
				}, n)
			},
		},
		{
			name: "calls-http", does: "one identity asks for a token as JSON 1500 times a second over 8 connections",
			stops: "the same limit, at the same place: the gateway is a caller of gRPC",
			run: func(ctx context.Context, t target, n *tally) error {
				return callHTTP(ctx, t.way, 8, 1500, func() *http.Request { return get(t.way, "/v1/tokens/"+t.Still) }, status200, n)
			},
		},
		{
			name: "calls-list", does: "one identity calls ListTokens 2000 times a second over 4 connections",
			stops: "`limits.rate`",
			run: func(ctx context.Context, t target, n *tally) error {
				return callGRPC(ctx, t.way, 4, 2000, func(ctx context.Context, c *grpc.ClientConn) error {
					_, err := tokenbrokerv1.NewTokenBrokerServiceClient(c).ListTokens(ctx, &tokenbrokerv1.ListTokensRequest{})
					return err
				}, n)
			},
		},
		{
			name: "calls-status", does: "one identity calls GetStatus 2000 times a second over 4 connections",
			stops: "`limits.rate`, and that the verb `status` is an operator's",
			run: func(ctx context.Context, t target, n *tally) error {
				return callGRPC(ctx, t.way, 4, 2000, func(ctx context.Context, c *grpc.ClientConn) error {
					_, err := tokenbrokerv1.NewAdminServiceClient(c).GetStatus(ctx, &tokenbrokerv1.GetStatusRequest{})
					return err
				}, n)
			},
		},
		{
			name: "calls-waiting", does: "one identity makes calls that wait a minute for a life that cannot be had, 1000 a second over 8 connections",
			stops: "`limits.calls`: how many calls of one identity may be under way",
			run: func(ctx context.Context, t target, n *tally) error {
				return waitGRPC(ctx, t, n)
			},
		},
		{
			name: "calls-waiting-http", does: "the same as JSON, 500 a second over as many connections as it takes, 1000 at most",
			stops: "`limits.calls`, the connections of one address, and the gateway's own bound of 256 waits, which others do not stand behind",
			run: func(ctx context.Context, t target, n *tally) error {
				return callHTTP(ctx, t.way, 1000, 500, func() *http.Request {
					return get(t.way, "/v1/tokens/"+t.Still+"?minTtl="+tooMuch.String())
				}, status200, n)
			},
		},
	}
}

// tooMuch is a life that a token of two hours may have, and never has.
const tooMuch = 2*time.Hour - time.Millisecond

// callGRPC makes calls at a rate.
func callGRPC(ctx context.Context, w way, connections int, perSecond float64, call func(context.Context, *grpc.ClientConn) error, n *tally) error {
	conns, closeAll, err := w.several(connections)
	if err != nil {
		return err
	}
	defer closeAll()
	pace(ctx, perSecond, 32*connections, func(ctx context.Context, worker int) { n.call(call(ctx, conns[worker%connections])) })
	return nil
}

// waitGRPC makes calls that wait, each by a goroutine of its own.
func waitGRPC(ctx context.Context, t target, n *tally) error {
	conns, closeAll, err := t.several(8)
	if err != nil {
		return err
	}
	defer closeAll()
	pace(ctx, 1000, 4000, func(ctx context.Context, worker int) {
		release := n.hold()
		_, err := tokenbrokerv1.NewTokenBrokerServiceClient(conns[worker%len(conns)]).GetToken(ctx,
			&tokenbrokerv1.GetTokenRequest{Name: t.Still, MinTtl: durationpb.New(tooMuch)})
		release(ctx.Err() == nil)
		n.call(err)
	})
	return nil
}

// callHTTP makes requests at a rate. judge says what came of an answer.
func callHTTP(ctx context.Context, w way, connections int, perSecond float64, request func() *http.Request, judge func(*http.Response) string, n *tally) error {
	client, err := w.http(connections)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	pace(ctx, perSecond, connections, func(ctx context.Context, _ int) {
		release := n.hold()
		resp, err := client.Do(request().WithContext(ctx)) //nolint:bodyclose // judge does
		release(ctx.Err() == nil)
		switch {
		case err == nil:
			n.add(judge(resp))
		case ctx.Err() == nil:
			n.add(refused)
		}
	})
	return nil
}

// get is a request for a path of the gateway.
func get(w way, path string) *http.Request {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+w.HTTP+path, http.NoBody)
	if err != nil {
		panic(err) // paths are ours
	}
	return req
}

// status200 is the outcome of an answer by its status.
func status200(resp *http.Response) string {
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode == http.StatusOK {
		return served
	}
	return fmt.Sprintf("HTTP %d", resp.StatusCode)
}
