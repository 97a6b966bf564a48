package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// resignCommand is for maintenance: take the lead away from a replica before something is done to it.
func resignCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resign",
		Short: "Have the leader hand over to another replica",
		Long: `Makes the leader finish the fetch in flight, give up the lead and queue behind the other replicas, and waits for the next leader.

Tokens stay as they are, and nobody who asks for one notices. A single replica leads again itself.

` + exitHelp,
		Args: cobra.NoArgs,
	}
	cl := newClient(c, cmd, 30*time.Second, asTable, asJSON)
	cmd.RunE = carryOut(func(ctx context.Context, _ []string) error {
		var resp *tokenbrokerv1.ResignLeadershipResponse
		err := cl.call(ctx, operatorConfig, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
			resp, err = tokenbrokerv1.NewAdminServiceClient(conn).ResignLeadership(ctx, &tokenbrokerv1.ResignLeadershipRequest{}, opts...)
			return err
		})
		if err != nil {
			return err
		}
		if cl.output == asJSON {
			return writeJSON(c.out, resp, true)
		}
		_, err = fmt.Fprintf(c.out, "%s at %s leads now (term %d).\n", resp.GetLeader().GetId(), resp.GetLeader().GetAddress(), resp.GetLeader().GetTerm())
		return err
	})
	return cmd
}
