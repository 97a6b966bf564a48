package main

import (
	"context"
	"errors"
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
whoever holds it is refused from then on. It asks for confirmation.

A classic token is not fetched within four minutes after the last fetch or the last change of leaders, whoever orders it: the
command says so, and waits. If the time runs out (exit code 5), the order stands: watch or status show what became of it.

--force --twice is for a token that leaked. WeChat's rule is two forced refreshes 30 s apart, after which no earlier token is
accepted anywhere. It asks for the token's name (--yes: it does not; without a terminal nothing is done then), tells its
progress, waits as long as the broker says, and goes on through a change of leaders; name several brokers by --server. If it
does not come to its end (exit codes as below; 4: the day's forced refreshes are spent), it says what has been done and how to
go on. After one of the two that is: broker refresh --force NAME.

` + exitHelp,
		Args: cobra.ExactArgs(1),
	}
	cl := newClient(c, cmd, time.Minute, asTable, asJSON)
	cmd.ValidArgsFunction = cl.completeNames
	force := cmd.Flags().Bool("force", false, "kill the present token at the upstream")
	twice := cmd.Flags().Bool("twice", false, "with --force: two forced refreshes, for a token that leaked (--timeout is 10m then, if not given)")
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask for confirmation")
	settle := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if *twice && !*force {
			return errors.New("--twice is for --force only")
		}
		if *twice && !cmd.Flags().Changed("timeout") {
			cl.timeout = drillTime
		}
		return settle(cmd, args)
	}
	cmd.RunE = carryOut(func(ctx context.Context, args []string) error {
		var err error
		switch {
		case !*force || *yes:
		case *twice:
			err = c.permitted(ctx, args[0])
		default:
			err = c.confirmed(ctx, "Every holder of "+args[0]+" will be refused by the upstream until it asks again. Go on?")
		}
		if err != nil {
			return err
		}
		var resp *tokenbrokerv1.RefreshTokenResponse
		if *twice {
			resp, err = (&drill{client: cl, name: args[0]}).run(ctx)
		} else {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, cl.timeout)
			defer cancel()
			cl.tellQuiet(ctx, args[0], *force)
			err = cl.call(ctx, operatorConfig, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
				resp, err = tokenbrokerv1.NewAdminServiceClient(conn).RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: args[0], Force: *force}, opts...)
				return err
			})
		}
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
