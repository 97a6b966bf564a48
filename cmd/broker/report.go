package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// reportCommand reads a token from standard input and never from the command line, where every user of the machine could see it.
func reportCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report-invalid NAME (--version N | --stdin)",
		Short: "Say that the upstream refused a token before its time",
		Long: `Reports that the upstream refused a token before its end (WeChat: errcode 40001, 40014 or 42001), and waits for the newer one.

It acts only if the reported version is still the current one; where the upstream can be asked, the broker asks it first.
When the upstream says that the token lives, the answer is the same version again.

` + exitHelp,
		Example: "  broker report-invalid shop --version 17",
		Args:    cobra.ExactArgs(1),
	}
	cl := newClient(c, cmd, 30*time.Second, asTable, asJSON, asValue)
	cmd.ValidArgsFunction = cl.completeNames
	version := cmd.Flags().Int64("version", 0, "the version that was refused")
	stdin := cmd.Flags().Bool("stdin", false, "read the refused token itself from standard input")
	cmd.MarkFlagsOneRequired("version", "stdin")
	cmd.MarkFlagsMutuallyExclusive("version", "stdin")
	cmd.RunE = carryOut(func(ctx context.Context, args []string) error {
		req := &tokenbrokerv1.ReportInvalidTokenRequest{Name: args[0], Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: *version}}
		if *stdin {
			value, err := bufio.NewReader(c.in).ReadString('\n')
			if value = strings.TrimSpace(value); value == "" {
				return errors.Join(errors.New("there is no token on standard input"), err)
			}
			req.Reported = &tokenbrokerv1.ReportInvalidTokenRequest_AccessToken{AccessToken: value}
		}
		var resp *tokenbrokerv1.ReportInvalidTokenResponse
		err := cl.call(ctx, callerConfig, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
			resp, err = tokenbrokerv1.NewTokenBrokerServiceClient(conn).ReportInvalidToken(ctx, req, opts...)
			return err
		})
		if err != nil {
			return err
		}
		switch cl.output {
		case asJSON:
			return writeJSON(c.out, resp, true)
		case asValue:
			_, err := fmt.Fprintln(c.out, resp.GetToken().GetAccessToken())
			return err
		}
		if !*stdin && resp.GetToken().GetVersion() == *version {
			fmt.Fprintln(c.out, "The upstream accepts the reported token: it stays.")
		}
		return describe(c.out, c.now(), resp.GetToken())
	})
	return cmd
}
