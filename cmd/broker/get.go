package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// getCommand gives a token to a person or a script. What a person sees cannot be used from over the shoulder.
func getCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Get a token",
		Long: `Gets the current token of that name, with the life that the broker guarantees for it.

The table shows the token shortened; -o value prints it alone, -o json prints the whole answer.

` + exitHelp,
		Example: `  broker get shop
  curl "https://api.weixin.qq.com/cgi-bin/get_api_domain_ip?access_token=$(broker get shop -o value)"`,
		Args: cobra.ExactArgs(1),
	}
	cl := newClient(c, cmd, 5*time.Second, asTable, asJSON, asValue)
	minTTL := cmd.Flags().Duration("min-ttl", 0, "wait for a token that has at least this much life left")
	cmd.ValidArgsFunction = cl.completeNames
	cmd.RunE = carryOut(func(ctx context.Context, args []string) error {
		resp, err := cl.getToken(ctx, args[0], *minTTL)
		if err != nil {
			return err
		}
		switch cl.output {
		case asJSON:
			return writeJSON(c.out, resp, true)
		case asValue:
			_, err := fmt.Fprintln(c.out, resp.GetToken().GetAccessToken())
			return err
		default:
			return describe(c.out, c.now(), resp.GetToken())
		}
	})
	return cmd
}

// getToken asks for a token with at least so much life left; 0 is content with any.
func (c *client) getToken(ctx context.Context, name string, minTTL time.Duration) (resp *tokenbrokerv1.GetTokenResponse, err error) {
	req := &tokenbrokerv1.GetTokenRequest{Name: name}
	if minTTL != 0 {
		req.MinTtl = durationpb.New(minTTL)
	}
	err = c.call(ctx, callerConfig, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
		resp, err = tokenbrokerv1.NewTokenBrokerServiceClient(conn).GetToken(ctx, req, opts...)
		return err
	})
	return resp, err
}

// completeNames offers the names of the tokens to the shell.
func (c *client) completeNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || c.settle(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c.timeout = min(c.timeout, time.Second)
	var names []string
	_ = c.call(cmd.Context(), callerConfig, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) error {
		resp, err := tokenbrokerv1.NewTokenBrokerServiceClient(conn).ListTokens(ctx, &tokenbrokerv1.ListTokensRequest{}, opts...)
		for _, t := range resp.GetTokens() {
			names = append(names, t.GetName())
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
