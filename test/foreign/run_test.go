//go:build foreign

package foreign_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// ample bounds the life of a foreign program, on a machine under heavy load. It says nothing about speed.
const ample = 2 * time.Minute

// result is what came of a program.
type result struct {
	out, err string
	code     int
}

// run runs a program to its end, with some more variables in its environment.
func run(t *testing.T, env []string, path string, args ...string) result {
	t.Helper()
	return runIn(t, ".", env, path, args...)
}

// runIn is run in a folder.
func runIn(t *testing.T, dir string, env []string, path string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, &out, &errs, time.Second
	cmd.Env = append(os.Environ(), env...)
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || ctx.Err() != nil {
		t.Errorf("running %s: %v\n%s\n%s", path, errors.Join(err, ctx.Err()), out.String(), errs.String())
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// stream is a program that goes on writing.
type stream struct {
	out brokertest.Transcript
	end func()
}

// follow starts a program that goes on writing. It is ended with the test at the latest.
func follow(t *testing.T, path string, args ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ample)
	s := &stream{}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &s.out, &s.out, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.end = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait() // it was killed, unless it ended by itself
	})
	t.Cleanup(func() {
		if s.end(); t.Failed() {
			t.Logf("what %s wrote:\n%s", path, s.out.String())
		}
	})
	return s
}

// await waits until the program has written something.
func (s *stream) await(t *testing.T, text string) {
	t.Helper()
	site.Eventually(t, "the text "+text, func() bool { return strings.Contains(s.out.String(), text) })
}

// absolute finds a file from everywhere.
func absolute(t *testing.T, path ...string) string {
	t.Helper()
	full, err := filepath.Abs(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return full
}
