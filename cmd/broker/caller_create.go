package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

func callerCommand(c console) *cobra.Command {
	cmd := &cobra.Command{Use: "caller", Short: "Let programs and people call the API by static tokens", Args: cobra.NoArgs}
	cmd.AddCommand(callerCreateCommand(c))
	return cmd
}

func callerCreateCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a static token, and show it once",
		Long: `Makes a token with which a program can call the API, and prints it together with the line for authentication.token_file. That holds
only its hash: who loses the token makes another. No broker is asked, and nothing is changed; brokers read the file at their start and at
SIGHUP. What the caller may have is said by the policy. For the WeChat-compatible paths there is broker client create.`,
		Example: "  broker caller create shop",
		Args:    cobra.ExactArgs(1),
	}
	cmd.PreRunE = func(_ *cobra.Command, args []string) error {
		if !access.CallerName.MatchString(args[0]) {
			return fmt.Errorf("%s cannot be a caller's name; write letters, digits, '.', '_' and '-'", quote(args[0]))
		}
		return nil
	}
	cmd.RunE = carryOut(func(_ context.Context, args []string) error {
		return printCaller(c.out, args[0], newSecret())
	})
	return cmd
}

func printCaller(w io.Writer, name, secret string) error {
	_, err := fmt.Fprintf(w, `The token of %[1]s, shown only now. It goes into the header of each call, as Authorization: Bearer TOKEN:

  %[2]s

For the file that authentication.token_file names, on every replica:

%[1]s %[3]s

The policy knows the caller as %[4]s%[1]s.
`, name, secret, secretHash(secret), access.KindToken)
	return err
}
