package site

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// root finds the root of the module from a folder two levels below test/, in which tests run.
func root() (string, error) {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		dir = filepath.Dir(dir)
	}
	return "", fmt.Errorf("there is no go.mod above this folder: %w", err)
}

// Build builds the broker into a folder, with the flags of `make test`, so that its build cache is of use.
func Build(dir string) (program string, err error) {
	top, err := root()
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, "broker")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", program, "./cmd/broker")
	cmd.Dir, cmd.Env = top, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the broker: %w\n%s", err, out)
	}
	return program, nil
}

// noteSources opens the folders of the program's source. Nothing of it is compiled into the tests; but go test remembers what is opened
// while they run, and so does not take a result from before a change for a present one.
func noteSources() {
	top, err := root()
	if err != nil {
		return
	}
	for _, dir := range []string{"cmd", "internal", "proto"} {
		_ = filepath.WalkDir(filepath.Join(top, dir), func(string, fs.DirEntry, error) error { return nil })
	}
	_, _ = os.Stat(filepath.Join(top, "go.mod"))
}

// process is a program that runs, with nothing in its environment but what is given.
type process struct {
	cmd   *exec.Cmd
	err   transcript
	ended chan struct{}
}

// start starts a program that is told to end, and must do so in good order, when the test does.
func start(tb testing.TB, env []string, path string, args ...string) *process {
	tb.Helper()
	p := &process{cmd: exec.CommandContext(context.Background(), path, args...), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"TMPDIR=" + tb.TempDir()}, env...)
	p.cmd.Stderr, p.cmd.SysProcAttr = &p.err, endWithParent()
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("starting %s: %v", path, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState has it
	}()
	tb.Cleanup(func() { p.stop(tb) })
	return p
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) stop(tb testing.TB) {
	tb.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-p.ended:
	case <-time.After(ample):
		tb.Error("the broker does not end")
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		tb.Errorf("the broker ended with exit code %d", code)
	}
	if tb.Failed() {
		lines := strings.Split(p.err.String(), "\n")
		tb.Logf("the end of its log:\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// transcript collects what a process writes. It is safe for concurrent use.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// ample bounds waits for what takes well under a second on an idle machine, and says nothing about speed.
const ample = 30 * time.Second

// Eventually waits until a condition holds, and fails the test if it does not in ample time.
func Eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	late := time.NewTimer(ample)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late.C:
			tb.Fatalf("not within %v: %s", ample, what)
		}
	}
}
