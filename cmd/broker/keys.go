package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenbroker/tokenbroker/internal/atomicfile"
	"github.com/tokenbroker/tokenbroker/internal/seal"
)

func keysCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make and replace the keys that encrypt tokens at rest",
		Long: `Makes and replaces the keys by which tokens are encrypted in etcd and in snapshots. docs/KEYS.md tells the whole of it.

Keys are replaced under a running cluster, without a fetch, in four steps, each of which "broker keys rotate" takes only when it is safe:

  add      a new key, which opens and does not seal yet
  promote  it seals from now on, once every replica has it
  reseal   what is sealed with the old key is sealed anew, once every replica seals with the new one
  disable  the old key, once nothing is sealed with it any more

After each step that changes the file it is copied to every replica, and they are restarted one after the other.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(keysCreateCommand(c), keysRotateCommand(c), keysResealCommand(c), keysStatusCommand(c),
		keysChangeCommand(c, "enable", "Have a disabled key open again, to restore a backup that is sealed with it", (*seal.Keyset).Enable),
		keysChangeCommand(c, "delete", "Remove a disabled key for good: what it has sealed, backups too, opens nowhere any more", deleteDisabled))
	return cmd
}

func keysCreateCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create FILE",
		Short: "Make a keyset with one key",
		Long: `Makes a keyset of one new key in a file that does not exist yet, of mode 0600. Whoever has the file and can read etcd has the tokens:
keep it where secrets are kept. Every replica gets the same file.`,
		Example: "  broker keys create /etc/tokenbroker/keyset.json",
		Args:    cobra.ExactArgs(1),
	}
	cmd.RunE = carryOut(func(_ context.Context, args []string) error {
		if _, err := os.Lstat(args[0]); err == nil {
			return fmt.Errorf("%s exists already, and is not overwritten: if it is a keyset, broker keys rotate replaces its key; else name another file", args[0])
		}
		k, err := seal.New()
		if err != nil {
			return err
		}
		if err := writeKeyset(args[0], k); err != nil {
			return err
		}
		path, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.out, `%s has a keyset with the key %v now.

Copy it to every replica, readable for the broker's user alone, and write into each configuration:

sealing: {keyset: {file: %s}}

If the cluster holds tokens that are not sealed, it takes some steps more: docs/KEYS.md, "Switching it on".
Keep a copy of it, but not beside backups of etcd: whoever has both has the tokens.
`, path, k.Primary(), strconv.Quote(path))
		return err
	})
	return cmd
}

// keysChangeCommand changes one key in a file, without a look at the cluster.
func keysChangeCommand(c console, verb, short string, change func(*seal.Keyset, seal.ID) (*seal.Keyset, error)) *cobra.Command {
	cmd := &cobra.Command{Use: verb + " FILE KEY", Short: short, Args: cobra.ExactArgs(2)}
	cmd.RunE = carryOut(func(_ context.Context, args []string) error {
		id, err := strconv.ParseUint(args[1], 10, 32)
		if err != nil {
			return fmt.Errorf("%s is no key's id; broker keys status shows them", quote(args[1]))
		}
		k, err := readKeyset(args[0])
		if err != nil {
			return err
		}
		next, err := change(k, seal.ID(id))
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		if err := writeKeyset(args[0], next); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.out, "%s: %sd key %d.\n%s", args[0], verb, id, copyAndRestart)
		return err
	})
	return cmd
}

// deleteDisabled deletes a key that opens nothing any more anyway.
func deleteDisabled(k *seal.Keyset, id seal.ID) (*seal.Keyset, error) {
	for _, key := range k.Keys() {
		if key.ID == id && key.Enabled {
			return nil, errors.New("the key is enabled: values may be sealed with it; broker keys rotate disables it when none is")
		}
	}
	return k.Delete(id)
}

const copyAndRestart = "Next: copy the file to every replica, and restart them one after the other.\n"

// readKeyset reads a keyset that is to be changed. It must be a file of its own: a link would be replaced, and what it leads to stay.
func readKeyset(path string) (*seal.Keyset, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("%s %s; broker keys create makes one", path, fileTrouble(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file; name the keyset itself, where it can be changed", path)
	}
	data, mode, err := readSmall(path, seal.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("%s %s", path, fileTrouble(err))
	}
	if mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("other users of this machine can read %s (mode %v): chmod 600 it, and if they are not to be trusted, replace the key at once", path, mode.Perm())
	}
	k, err := seal.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s is no keyset that can be used: %w", path, err)
	}
	return k, nil
}

// writeKeyset puts a keyset into its file, in one step.
func writeKeyset(path string, k *seal.Keyset) error {
	data, err := k.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, data, 0o600); err != nil {
		return fmt.Errorf("writing the keyset: %w", err)
	}
	return nil
}

// keysFlags are those of the commands that look at the cluster.
type keysFlags struct {
	src     *configSource
	timeout time.Duration
}

func newKeysFlags(c console, cmd *cobra.Command) *keysFlags {
	f := &keysFlags{src: newConfigSource(c, cmd)}
	cmd.Flags().StringVarP(&f.src.file, "config", "c", "", "a replica's configuration, for the way to etcd (env "+configVariable+", default "+defaultConfig+")")
	cmd.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "how long it may take")
	return f
}
