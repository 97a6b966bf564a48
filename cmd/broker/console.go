package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// console is what a subcommand shares with the world around it. Commands use nothing of the process besides, so that tests can run
// them.
type console struct {
	in       io.Reader
	out, err io.Writer
	// terminal: somebody sits at in, who can be asked.
	terminal bool
	env      environment
	// now is the wall clock, for times that are shown relative to it.
	now func() time.Time
}

func systemConsole() console {
	return console{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, terminal: term.IsTerminal(int(os.Stdin.Fd())), env: systemEnvironment(), now: time.Now,
	}
}

// run carries out one command line and returns the exit code. It blocks until the command is done or ctx ends.
func run(ctx context.Context, args []string, c console) int {
	root := rootCommand(c)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	done := (*outcome)(nil)
	if !errors.As(err, &done) { // cobra's own: flags, arguments, names of commands
		done = &outcome{code: exitUsage, text: err.Error() + "\nSee " + cmd.CommandPath() + " --help."}
	}
	if done.text != "" {
		fmt.Fprintln(c.err, "broker: "+done.text)
	}
	return done.code
}

// rootCommand puts the command line together. Completion scripts are cobra's own.
func rootCommand(c console) *cobra.Command {
	root := &cobra.Command{
		Use:   "broker",
		Short: "Keeps access tokens alive and hands them out",
		Long: `broker keeps access tokens alive and hands them out over gRPC and HTTP.

Several replicas elect a leader through etcd; only the leader fetches, and every replica answers.

` + exitHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run a broker:"},
		&cobra.Group{ID: "use", Title: "Use a broker:"},
		&cobra.Group{ID: "operate", Title: "Operate a broker:"})
	for group, commands := range map[string][]*cobra.Command{
		"run":     {serveCommand(c), agentCommand(c), devCommand(c), configCommand(c), policyCommand(c), callerCommand(c), clientCommand(c)},
		"use":     {getCommand(c), watchCommand(c), listCommand(c), reportCommand(c), execCommand(c)},
		"operate": {statusCommand(c), refreshCommand(c), resignCommand(c), healthcheckCommand(c), keysCommand(c)},
	} {
		for _, cmd := range commands {
			cmd.GroupID = group
			if cmd.HasSubCommands() { // run, so that cobra refuses a word that is none of them: it would print the help, and succeed
				cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			}
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(versionCommand(c))
	return root
}

// carryOut adapts a command's work: whatever error it returns becomes an outcome, so that cobra's own errors can be told from it.
func carryOut(work func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := work(cmd.Context(), args)
		if done := (*outcome)(nil); err == nil || errors.As(err, &done) {
			return err
		}
		return failed(strings.TrimPrefix(cmd.CommandPath(), "broker "), err)
	}
}
