package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version and commit are set by the linker: -X main.version=v1.2.3. The go command could stamp the commit by itself, but with the state of the
// work tree and only where there is a repository, so that the bytes of the program would depend on where it was built.
var version, commit = "", ""

// build describes the program.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Time    string `json:"time,omitempty"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

func thisBuild() build {
	b := build{Version: version, Commit: commit, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key { // of a program that was built by `go build` or `go install` alone
		case "vcs.revision":
			b.Commit = cmp.Or(b.Commit, s.Value)
		case "vcs.time":
			b.Time = s.Value
		}
	}
	b.Version = cmp.Or(b.Version, info.Main.Version)
	return b
}

func (b build) String() string {
	text := fmt.Sprintf("broker %s, %s, %s", b.Version, b.Go, b.System)
	if b.Commit != "" {
		text += fmt.Sprintf(", commit %.12s", b.Commit)
	}
	if b.Time != "" {
		text += " of " + b.Time
	}
	return text
}

func versionCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program",
		Args:  cobra.NoArgs,
	}
	output := cmd.Flags().StringP("output", "o", asTable, "form of the output: table or json")
	cmd.RunE = func(*cobra.Command, []string) error {
		switch *output {
		case asTable:
			fmt.Fprintln(c.out, thisBuild())
			return nil
		case asJSON:
			e := json.NewEncoder(c.out)
			e.SetIndent("", "  ")
			return e.Encode(thisBuild())
		default:
			return fmt.Errorf("output %q is not possible; write table or json", *output)
		}
	}
	return cmd
}
