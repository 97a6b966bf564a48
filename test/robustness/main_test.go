package main

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// suiteArgs is the environment variable with which a test runs the suite itself, with these arguments, as a process of its own.
const suiteArgs = "ROBUSTNESS_TEST_ARGS"

func TestMain(m *testing.M) {
	if args, ok := os.LookupEnv(suiteArgs); ok {
		os.Exit(start(strings.Fields(args), os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}
