package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// refreshCommand is the operator's: callers that find a token dead use report-invalid, which is bounded and asks WeChat first.
func refreshCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "refresh NAME",
		Short: "Have the leader fetch a token now",
		Long: `Has the leader fetch the token now, ahead of its schedule, and waits for the result.

WeChat stable answers with the same token outside its last five minutes. --force kills the present token at the upstream:
whoever holds it is refused from then on. It is for leaked tokens, and asks for confirmation.
If the time runs out (exit code 5), the request stands: watch or status show what became of it.

` + exitHelp,
		Args: cobra.ExactArgs(1),
	}
	cl := newClient(c, cmd, time.Minute, asTable, asJSON)
	cmd.ValidArgsFunction = cl.completeNames
	force := cmd.Flags().Bool("force", false, "kill the present token at the upstream")
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask for confirmation")
	cmd.RunE = carryOut(func(ctx context.Context, args []string) error {
		if *force && !*yes && !c.confirmed("Every holder of "+args[0]+" will be refused by the upstream until it asks again. Go on?") {
			return &outcome{code: exitFailed, text: "refresh: not confirmed; nothing was done"}
		}
		var resp *tokenbrokerv1.RefreshTokenResponse
		err := cl.call(ctx, operatorConfig, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
			resp, err = tokenbrokerv1.NewAdminServiceClient(conn).RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: args[0], Force: *force}, opts...)
			return err
		})
		if err != nil {
			return err
		}
		if cl.output == asJSON {
			return writeJSON(c.out, resp, true)
		}
		return describe(c.out, c.now(), resp.GetToken())
	})
	return cmd
}

// confirmed asks a question, and takes anything but y or yes for a no.
func (c console) confirmed(question string) bool {
	fmt.Fprint(c.err, question+" [y/N] ")
	answer, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil {
		fmt.Fprintln(c.err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true
	}
	return false
}
