package main

import (
	"context"
	_ "embed" // example.yaml
	"io"

	"github.com/spf13/cobra"
)

//go:embed example.yaml
var exampleConfig string

func exampleCommand(c console) *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Show a configuration with every setting explained",
		Long:  "Prints a configuration file with every setting, its default and what it does: the reference.",
		Args:  cobra.NoArgs,
		RunE: carryOut(func(context.Context, []string) error {
			_, err := io.WriteString(c.out, exampleConfig)
			return err
		}),
	}
}
