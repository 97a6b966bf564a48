package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/store"
)

func keysStatusCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the keys, which replicas have them, and what is sealed with them",
		Long: `Shows the keys of the keyset that the configuration names, which keys the live replicas open and seal with, and how many records in etcd are
sealed with each. Keys are shown by their ids, never themselves.

Exit codes:
  0  everything in etcd opens with the keyset
  1  something does not, or the cluster cannot be looked at`,
		Args: cobra.NoArgs,
	}
	f := newKeysFlags(c, cmd)
	cmd.RunE = carryOut(func(ctx context.Context, _ []string) error {
		return withKeysCluster(ctx, f, nil, func(_ context.Context, cluster *keysCluster) error { return cluster.show(c.out) })
	})
	return cmd
}

// show writes it for people.
func (c *keysCluster) show(w io.Writer) error {
	records, orphans, found := map[seal.ID]int{}, map[seal.ID]int{}, map[seal.ID]bool{}
	var bad []store.AtRest
	for _, v := range c.values {
		id, _ := seal.KeyOf(v.Sealed)
		if v.Attempt != "" {
			orphans[id]++
		} else {
			records[id]++
		}
		found[id] = true
		if v.Err != nil {
			bad = append(bad, v)
		}
	}
	out := newTable(w)
	out.row("KEY", "STATUS", "RECORDS", "ORPHANS")
	for _, key := range c.keys {
		status := "disabled"
		switch {
		case key.Primary:
			status = "primary"
		case key.Enabled:
			status = "enabled"
		}
		out.row(key.ID.String(), status, itoa(records[key.ID]), itoa(orphans[key.ID]))
		delete(found, key.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		name, status := id.String(), "not in the keyset"
		if id == 0 {
			name, status = "none", "not sealed"
		}
		out.row(name, status, itoa(records[id]), itoa(orphans[id]))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	out.row("REPLICA", "SEALS WITH", "OPENS WITH")
	for _, r := range c.replica {
		seals, opens := "nothing", make([]string, len(r.keys))
		if r.primary != 0 {
			seals = r.primary.String()
		}
		for i, id := range r.keys {
			opens[i] = id.String()
		}
		out.row(r.id, seals, strings.Join(opens, ", "))
	}
	if err := out.Flush(); err != nil || len(bad) == 0 {
		return err
	}
	fmt.Fprintln(w)
	for _, v := range bad {
		fmt.Fprintf(w, "%s at %s: %v\n", what(v), v.Key, v.Err)
	}
	return &outcome{code: exitFailed, text: "keys status: " + counted(len(bad), "value") + " in etcd cannot be opened; see above"}
}
