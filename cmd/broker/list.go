package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// listCommand shows what one replica can promise, for each token.
func listCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all tokens, without their values",
		Long:  "Lists every configured token with its version, state and guaranteed life, never its value.\n\n" + exitHelp,
		Args:  cobra.NoArgs,
	}
	cl := newClient(c, cmd, 5*time.Second, asTable, asJSON)
	cmd.RunE = carryOut(func(ctx context.Context, _ []string) error {
		var resp *tokenbrokerv1.ListTokensResponse
		err := cl.call(ctx, callerConfig, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
			resp, err = tokenbrokerv1.NewTokenBrokerServiceClient(conn).ListTokens(ctx, &tokenbrokerv1.ListTokensRequest{}, opts...)
			return err
		})
		if err != nil {
			return err
		}
		if cl.output == asJSON {
			return writeJSON(c.out, resp, true)
		}
		out, now := newTable(c.out), c.now()
		out.row("NAME", "STATE", "VERSION", "TTL", "EXPIRES")
		for _, t := range resp.GetTokens() {
			out.row(t.GetName(), standing(t.GetState(), t.GetLocal()), itoa(int(t.GetVersion())), life(t), relative(now, t.GetExpireTime()))
		}
		return out.Flush()
	})
	return cmd
}
