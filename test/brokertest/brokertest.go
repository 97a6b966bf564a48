// Package brokertest is what packages have in common that try the broker as a program, in processes of its own: it is built for them, ends
// with them, and what it writes is kept.
package brokertest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// Main is the whole of a TestMain: it has a folder made, which build fills with the programs, runs the tests, looks for leaked goroutines,
// and removes the folder. It does not return.
func Main(m *testing.M, build func(dir string) error) {
	dir, err := os.MkdirTemp("", "broker-test-")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		_ = os.RemoveAll(dir)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// Build builds the broker without cgo and without the race detector, whatever the tests themselves are built with. The flags are those of
// `make test`, so that its build cache is of use.
func Build(path string, flags ...string) error {
	return GoBuild(path, append(flags, "./cmd/broker")...)
}

// GoBuild is Build for another program: args are the flags and the package.
func GoBuild(path string, args ...string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"build", "-buildvcs=false", "-o", path}, args...)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", filepath.Base(path), err, out)
	}
	return nil
}

// NoteSources opens the folders of the program's source, once. It is to be called while a test runs. Nothing of the program is compiled
// into the tests, so that go test would take a result from before a change for a present one; but it remembers what is opened while tests
// run, and looks whether that is the same.
var NoteSources = sync.OnceFunc(func() {
	root, err := moduleRoot()
	if err != nil {
		return // and nothing was built
	}
	for _, dir := range []string{"client", "cmd", "internal", "proto"} {
		_ = filepath.WalkDir(filepath.Join(root, dir), func(string, fs.DirEntry, error) error { return nil })
	}
	_, _ = os.Stat(filepath.Join(root, "go.mod"))
})

// moduleRoot finds the root of the module from the folder in which tests run.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for the module: %w", err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("looking for the module: the present folder is in none")
}
