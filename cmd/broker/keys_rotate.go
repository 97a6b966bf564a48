package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenbroker/tokenbroker/internal/seal"
)

// keyRotation is one run of broker keys rotate.
type keyRotation struct {
	console
	file     string
	replicas int
	force    bool
}

func keysRotateCommand(c console) *cobra.Command {
	r := &keyRotation{console: c}
	cmd := &cobra.Command{
		Use:   "rotate FILE",
		Short: "Take the next step of replacing the key: add, promote, reseal or disable",
		Long: `Takes the next step of replacing the key in a keyset's file, and says what to do before the one after it. What the live replicas have is
learned from etcd. A step that is not safe yet is refused, with the reason. It can be stopped and run again at any time.

Replicas that do not run, or do not reach etcd, are not seen: give --replicas, or look at the list that is printed.`,
		Example: "  broker keys rotate /etc/tokenbroker/keyset.json -c /etc/tokenbroker/broker.yaml --replicas 3",
		Args:    cobra.ExactArgs(1),
	}
	f := newKeysFlags(c, cmd)
	cmd.Flags().IntVar(&r.replicas, "replicas", 0, "how many replicas there are: with fewer that are live no step is taken that rests on what they have")
	cmd.Flags().BoolVar(&r.force, "force", false, `promote or disable although something speaks against it, which is told. Replicas that lack the key then cannot
read what the others write; values that are sealed with a disabled key are lost, and their tokens not fetched until their records are removed`)
	cmd.RunE = carryOut(func(ctx context.Context, args []string) error {
		r.file = args[0]
		k, err := readKeyset(r.file)
		if err != nil {
			return err
		}
		return withKeysCluster(ctx, f, k, func(ctx context.Context, cluster *keysCluster) error { return r.step(ctx, k, cluster) })
	})
	return cmd
}

// step takes the next step.
func (r *keyRotation) step(ctx context.Context, k *seal.Keyset, cluster *keysCluster) error {
	fmt.Fprintf(r.out, "%s live: %s.\n", counted(len(cluster.replica), "replica"), strings.Join(names(cluster.replica), ", "))
	plan := planRotation(k.Keys(), cluster.replica, cluster.values)
	if n := len(cluster.replica); n < r.replicas && plan.step != stepAdd {
		plan.object(fmt.Sprintf("only %d of %d replicas are live, and nobody can say which keys the others have: start them", n, r.replicas))
	}
	if len(plan.objections) > 0 {
		if !r.force || plan.step != stepPromote && plan.step != stepDisable {
			return refusedStep(plan.step, plan.objections)
		}
		fmt.Fprintf(r.err, "broker: forced, although:\n  %s\n", strings.Join(plan.objections, "\n  "))
	}
	switch plan.step {
	case stepAdd:
		return r.add(k)
	case stepPromote:
		return r.promote(k, plan.keys[0])
	case stepReseal:
		return r.reseal(ctx, cluster, k.Primary())
	case stepDisable:
		return r.disable(k, plan.keys)
	default:
		return errors.New("there is no such step")
	}
}

func names(replicas []keyHolder) []string {
	all := make([]string, len(replicas))
	for i, r := range replicas {
		all[i] = r.id
	}
	return all
}

func (r *keyRotation) add(k *seal.Keyset) error {
	next, id, err := k.Add()
	if err != nil {
		return err
	}
	if err := writeKeyset(r.file, next); err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.out, "add: %s has the new key %v, which opens and does not seal yet.\n%sThen run this again, to promote it.\n", r.file, id, copyAndRestart)
	return err
}

func (r *keyRotation) promote(k *seal.Keyset, id seal.ID) error {
	next, err := k.Promote(id)
	if err != nil {
		return err
	}
	if err := writeKeyset(r.file, next); err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.out, "promote: key %v seals from now on; key %v opens what it has sealed.\n%sThen run this again, to seal anew what the old key has sealed.\n",
		id, k.Primary(), copyAndRestart)
	return err
}

func (r *keyRotation) reseal(ctx context.Context, cluster *keysCluster, primary seal.ID) error {
	n, err := cluster.reseal(ctx, primary)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.out, "reseal: %s sealed anew with key %v.\nNext: run this again, to disable the old key.\n", counted(n, "record"), primary)
	return err
}

func (r *keyRotation) disable(k *seal.Keyset, ids []seal.ID) error {
	for _, id := range ids {
		next, err := k.Disable(id)
		if err != nil {
			return err
		}
		k = next
	}
	if err := writeKeyset(r.file, k); err != nil {
		return err
	}
	_, err := fmt.Fprintf(r.out, `disable: %v do not open any more; nothing in etcd is sealed with them.
%sThe rotation is done then. Backups of etcd from before it are sealed with what is disabled now: keep it in the file as long as they are to be
restored, then run broker keys delete.
`, ids, copyAndRestart)
	return err
}
