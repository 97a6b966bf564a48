// Command supply watches over what the broker is made of.
//
//	supply check        fails if docs/DEPENDENCIES.md is not what go.mod asks for, or a licence in the broker is none that we take
//	supply sbom FILE    prints the bill of materials of a built broker, as CycloneDX JSON
//
// It runs at the root of the module. What it says follows from files alone, go.mod, the module cache and the program, so that it says the same
// everywhere: there is no time in a bill of materials.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "supply:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("supply sbom", flag.ContinueOnError)
	version := flags.String("version", "", "the version of the program")
	commit := flags.String("commit", "", "the commit that it was built from")
	switch {
	case len(args) == 1 && args[0] == "check":
		return check(ctx, "docs/DEPENDENCIES.md", out)
	case len(args) > 0 && args[0] == "sbom":
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if flags.NArg() == 1 {
			return printBill(ctx, flags.Arg(0), *version, *commit, out)
		}
	}
	return fmt.Errorf("write `supply check`, or `supply sbom -version V -commit C FILE`")
}

// check compares the page with go.mod and the licences with those that we take.
func check(ctx context.Context, path string, out io.Writer) error {
	direct, err := directModules(ctx)
	if err != nil {
		return err
	}
	compiled, err := modulesOf(ctx, "./cmd/broker")
	if err != nil {
		return err
	}
	all, err := locate(ctx, append(compiled, direct...))
	if err != nil {
		return err
	}
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := refuse(compiled, all); err != nil {
		return err
	}
	if err := compare(string(page), direct, all); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	fmt.Fprintf(out, "%d direct dependencies are accounted for, and %d modules in the broker have licences that we take\n", len(direct), len(compiled))
	return nil
}
