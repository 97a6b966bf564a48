package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// The exit codes of a command that cannot be begun are those of env and of shells.
const (
	exitNotExecutable = 126
	exitNoCommand     = 127
)

// execCommand becomes the command that it is told to run: there is nothing left to do that would need a parent, and so signals, the terminal,
// process groups and the exit code are the command's own.
func execCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec --token NAME=VARIABLE... -- COMMAND [ARGUMENT...]",
		Short: "Run a command with tokens in its environment",
		Long: `Gets tokens, and becomes the command, with each token in the environment variable that is named for it.

An environment variable does not follow a rotation. The command keeps the tokens that it was started with, and they die: a classic token of WeChat
is guaranteed for four minutes at most. This is for commands that soon end. What runs longer should read a file that ` + "`broker agent --file`" + ` keeps
up to date, or ask an agent or a broker.

A token is on no command line and in no log. The environment of a process can be read by its user, and is inherited by what it starts.

Exit codes are the command's own, but for
  2 to 7  as of ` + "`broker get`" + `: the command was not begun
  64  the command line is wrong
  126 the command cannot be executed
  127 there is no such command`,
		Example: `  broker exec --token shop=WX_TOKEN -- sh -c 'curl "https://api.weixin.qq.com/cgi-bin/get_api_domain_ip?access_token=$WX_TOKEN"'
  broker exec --token shop=WX_TOKEN --min-ttl 2m -- ./nightly-report`,
		DisableFlagsInUseLine: true, // what follows the command is the command's
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("there is no command; write it after --")
			}
			return nil
		},
	}
	cl := newClient(c, cmd, 5*time.Second)
	cmd.Flags().Lookup("timeout").Usage = "how long getting the tokens may take (env " + timeoutVariable + ")"
	cmd.Flags().SetInterspersed(false)
	wanted := cmd.Flags().StringArray("token", nil, "put token NAME into VARIABLE, as NAME=VARIABLE (repeatable)")
	minTTL := cmd.Flags().Duration("min-ttl", 0, "wait for tokens that have at least this much life left")
	_ = cmd.MarkFlagRequired("token")
	var tokens []assignment
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) (err error) {
		if tokens, err = assignments(*wanted); err != nil {
			return err
		}
		return cl.settle(cmd)
	}
	cmd.RunE = carryOut(func(ctx context.Context, args []string) error {
		path, err := exec.LookPath(args[0])
		if err != nil {
			return notBegun(args[0], err)
		}
		environ, err := cl.environWith(ctx, tokens, *minTTL)
		if err == nil {
			err = ctx.Err() // a signal that came until now would otherwise be lost
		}
		if err != nil {
			return err
		}
		return notBegun(args[0], syscall.Exec(path, args, environ))
	})
	return cmd
}

// assignment says where a token goes.
type assignment struct{ token, variable string }

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func assignments(texts []string) ([]assignment, error) {
	var all []assignment
	for _, text := range texts {
		name, variable, ok := strings.Cut(text, "=")
		switch {
		case !ok || name == "":
			return nil, fmt.Errorf("token %q: write NAME=VARIABLE", text)
		case !variableName.MatchString(variable):
			return nil, fmt.Errorf("token %q: %q is not the name of an environment variable", text, variable)
		case slices.ContainsFunc(all, func(a assignment) bool { return a.variable == variable }):
			return nil, fmt.Errorf("variable %s is to hold two tokens", variable)
		}
		all = append(all, assignment{name, variable})
	}
	return all, nil
}

// environWith gets the tokens, all within c.timeout, and returns the environment with them in it. A suspect token is better than none, but
// not without a word.
func (c *client) environWith(ctx context.Context, tokens []assignment, minTTL time.Duration) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	environ := slices.DeleteFunc(slices.Clone(c.env.Environ()), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.ContainsFunc(tokens, func(a assignment) bool { return a.variable == name })
	})
	for _, a := range tokens {
		resp, err := c.getToken(ctx, a.token, minTTL)
		if err != nil {
			return nil, err
		}
		if state := resp.GetToken().GetState(); state != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
			fmt.Fprintf(c.err, "broker: exec: token %s is %s\n", a.token, stateMeaning(state))
		}
		environ = append(environ, a.variable+"="+resp.GetToken().GetAccessToken())
	}
	return environ, nil
}

// notBegun explains why a command could not be executed.
func notBegun(name string, err error) error {
	code := exitNotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = exitNoCommand
	}
	if search, ok := errors.AsType[*exec.Error](err); ok {
		err = search.Err // without the name
	}
	return &outcome{code: code, text: fmt.Sprintf("exec: %s: %v", name, err)}
}
