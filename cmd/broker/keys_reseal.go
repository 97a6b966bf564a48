package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// resealRest is how long it is waited before what is not sealed anew yet is asked for once more.
const resealRest = time.Second

func keysResealCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reseal",
		Short: "Have the leader seal anew what is not sealed with the present key",
		Long: `Asks the leader to write every record anew that is sealed with another key than the replicas' primary, or not sealed at all. Nothing is
fetched, tokens stay as they are, and nobody who asks for one notices. It refuses as long as the replicas do not agree on the key.`,
		Args: cobra.NoArgs,
	}
	f := newKeysFlags(c, cmd)
	cmd.RunE = carryOut(func(ctx context.Context, _ []string) error {
		return withKeysCluster(ctx, f, nil, func(ctx context.Context, cluster *keysCluster) error {
			var primary seal.ID
			if len(cluster.replica) > 0 {
				primary = cluster.replica[0].primary
			}
			_, orphans, bad := sealedOtherwise(cluster.values, primary)
			if objections := append(sealsOtherwise(cluster.replica, primary), bad...); len(objections) > 0 {
				return refusedStep(stepReseal, objections)
			}
			n, err := cluster.reseal(ctx, primary)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.out, "%s sealed anew; all records are sealed with key %v now.\n", counted(n, "record"), primary)
			for _, orphan := range orphans {
				fmt.Fprintln(c.out, orphan+".")
			}
			return nil
		})
	})
	return cmd
}

// reseal has the leader seal every record with the primary, and returns how many it were when that is seen to be done.
func (c *keysCluster) reseal(ctx context.Context, primary seal.ID) (int, error) {
	done := map[string]bool{}
	for {
		records, _, _ := sealedOtherwise(c.values, primary)
		if len(records) == 0 {
			return len(done), nil
		}
		var failures []string
		for _, v := range records {
			reply, err := c.store.Ask(ctx, token.Request{Kind: token.RequestReseal, Name: v.Name, Version: int64(primary)})
			switch {
			case err != nil:
				return len(done), fmt.Errorf("the leader did not answer for token %s: %w; %d records are sealed anew, and the rest can be at any time. See that one of the replicas leads, and what it logs of this token",
					v.Name, err, len(done))
			case reply.Verdict != token.VerdictDone:
				failures = append(failures, fmt.Sprintf("token %s: the leader answers: %s", v.Name, reply.Reason))
			}
			done[v.Name] = true
		}
		if len(failures) > 0 {
			return len(done) - len(failures), refusedStep(stepReseal, failures)
		}
		if err := c.survey(ctx); err != nil {
			return len(done), err
		}
		if records, _, _ := sealedOtherwise(c.values, primary); len(records) > 0 {
			rest := time.NewTimer(resealRest)
			select {
			case <-rest.C:
			case <-ctx.Done():
				rest.Stop()
				return len(done), fmt.Errorf("%s still not sealed with key %v, although the leader has written it: see that it seals with that key: %w", what(records[0]), primary, ctx.Err())
			}
		}
	}
}

// refusedStep says why a step is not taken.
func refusedStep(step keyStep, objections []string) error {
	return fmt.Errorf("%s is not safe yet, and nothing was changed:\n  %s", step, strings.Join(slices.Compact(objections), "\n  "))
}
