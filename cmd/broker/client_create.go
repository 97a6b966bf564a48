package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// secretSize is the size of a secret that is made here, of a client or a caller, in bytes. So much randomness needs no slow hash.
const secretSize = 32

func clientCommand(c console) *cobra.Command {
	cmd := &cobra.Command{Use: "client", Short: "Let programs use the WeChat-compatible paths", Args: cobra.NoArgs}
	cmd.AddCommand(clientCreateCommand(c))
	return cmd
}

func clientCreateCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a client's secret, and show it once",
		Long: `Makes a secret with which a program can use the gateway's WeChat-compatible paths in place of an AppSecret, and prints it together
with the lines for the configuration. Those hold only its hash: who loses the secret makes another. No broker is asked, and nothing is
changed; brokers take the client over from their configuration at their start or at SIGHUP.`,
		Example: "  broker client create till --tokens 'shop,wallet-*'",
		Args:    cobra.ExactArgs(1),
	}
	tokens := cmd.Flags().StringSlice("tokens", []string{"*"}, "names of the tokens that it may have, by commas; * stands for any characters")
	cmd.PreRunE = func(_ *cobra.Command, args []string) error {
		if !access.CallerName.MatchString(args[0]) {
			return fmt.Errorf("%s cannot be a client's name; write letters, digits, '.', '_' and '-'", quote(args[0]))
		}
		for _, pattern := range *tokens {
			if !tokenPattern.MatchString(pattern) {
				return fmt.Errorf("%s is neither a token's name nor a pattern", quote(pattern))
			}
		}
		if len(*tokens) == 0 {
			return errors.New("the client would have no tokens; name some")
		}
		return nil
	}
	cmd.RunE = carryOut(func(_ context.Context, args []string) error {
		return printClient(c.out, args[0], *tokens, newSecret())
	})
	return cmd
}

// newSecret is of WeChat's alphabet, so that it fits wherever an AppSecret does.
func newSecret() string {
	raw := make([]byte, secretSize)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

// secretHash is what configurations hold of a secret.
func secretHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func printClient(w io.Writer, name string, tokens []string, secret string) error {
	patterns := make([]string, len(tokens))
	for i, pattern := range tokens {
		patterns[i] = strconv.Quote(pattern) // an asterisk alone would be YAML of its own
	}
	_, err := fmt.Fprintf(w, `The secret of %[1]s, shown only now. It takes the place of the AppSecret in the program's settings:

  %[2]s

For the configuration of every replica:

clients:
  - name: %[1]s
    secret_sha256: %[3]s
    tokens: [%[4]s]
`, name, secret, secretHash(secret), strings.Join(patterns, ", "))
	return err
}
