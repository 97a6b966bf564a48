package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// Waits before a stream that ended is opened again.
const (
	firstReopen   = 200 * time.Millisecond
	longestReopen = 5 * time.Second
)

// watchCommand ends with the interrupt that ends it: exit code 0.
func watchCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch NAME",
		Short: "Follow a token through its versions",
		Long: `Prints the current token, and then each new version and each change of state, until interrupted.

When a broker goes away the stream is opened again at another. --timeout bounds how long that may take.
The table shows tokens shortened; -o value prints each whole, -o json prints each message on a line of its own.

` + exitHelp,
		Args: cobra.ExactArgs(1),
	}
	cl := newClient(c, cmd, 10*time.Second, asTable, asJSON, asValue)
	cmd.ValidArgsFunction = cl.completeNames
	cmd.RunE = carryOut(func(ctx context.Context, args []string) error {
		conn, err := cl.dial(callerConfig)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if cl.output == asTable {
			fmt.Fprintf(c.out, watchRow, "TIME", "VERSION", "STATE", "TTL", "EXPIRES", "TOKEN")
		}
		return cl.watch(ctx, tokenbrokerv1.NewTokenBrokerServiceClient(conn), args[0])
	})
	return cmd
}

// watch opens the stream again and again, until ctx ends or the broker says that it is of no use.
func (c *client) watch(ctx context.Context, broker tokenbrokerv1.TokenBrokerServiceClient, name string) error {
	wait := firstReopen
	for {
		got, err := c.stream(ctx, broker, name)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // interrupted, as every watch is in the end
		}
		call := (*callError)(nil)
		if !errors.As(err, &call) || call.peer == "" || call.status.Code() != codes.Unavailable {
			return err
		}
		fmt.Fprintf(c.err, "broker: watch: the stream from %s ended: %s; opening it again\n", call.peer, call.status.Message())
		if got {
			wait = firstReopen
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, longestReopen)
	}
}

// stream follows one stream to its end, and reports whether it brought anything.
func (c *client) stream(ctx context.Context, broker tokenbrokerv1.TokenBrokerServiceClient, name string) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var from peer.Peer
	connecting := time.AfterFunc(c.timeout, cancel)
	stream, err := broker.WatchToken(ctx, &tokenbrokerv1.WatchTokenRequest{Name: name}, grpc.Peer(&from))
	if !connecting.Stop() && err != nil {
		return false, c.callError(status.Error(codes.DeadlineExceeded, status.Convert(err).Message()), &from)
	}
	for got := false; ; got = true {
		var resp *tokenbrokerv1.WatchTokenResponse
		if err == nil {
			resp, err = stream.Recv()
		}
		if err != nil {
			return got, c.callError(err, &from)
		}
		if err := c.show(resp); err != nil {
			return got, err
		}
	}
}

const watchRow = "%-8s  %-7s  %-7s  %-10s  %-8s  %s\n"

// show prints one message. Columns have fixed widths: those that are to come are not known.
func (c *client) show(resp *tokenbrokerv1.WatchTokenResponse) error {
	t, now := resp.GetToken(), c.now()
	switch c.output {
	case asJSON:
		return writeJSON(c.out, resp, false)
	case asValue:
		if t.GetAccessToken() == "" {
			return nil
		}
		_, err := fmt.Fprintln(c.out, t.GetAccessToken())
		return err
	default:
		expires := "-"
		if t.GetExpireTime() != nil {
			expires = t.GetExpireTime().AsTime().In(now.Location()).Format(time.TimeOnly)
		}
		_, err := fmt.Fprintf(c.out, watchRow, now.Format(time.TimeOnly), itoa(int(t.GetVersion())), standing(t.GetState(), t.GetLocal()), life(t), expires,
			shortened(t.GetAccessToken()))
		return err
	}
}
