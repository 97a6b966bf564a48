package e2e_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// process is a program that runs. It ends with the test at the latest.
type process struct {
	cmd      *exec.Cmd
	out, err transcript
	ended    chan struct{}
}

// start starts a program, with nothing in its environment but what is given.
func start(t *testing.T, env []string, path string, args ...string) *process {
	t.Helper()
	brokertest.NoteSources()
	// The context would kill by itself; the cleanup below also waits, and shows what was written.
	p := &process{cmd: exec.CommandContext(context.Background(), path, args...), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"TMPDIR=" + t.TempDir()}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.SysProcAttr = brokertest.EndWithParent()
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState has it
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the end of what %q wrote:\n%s\n%s", strings.Join(args, " "), p.out.Tail(15), p.err.Tail(60))
		}
	})
	return p
}

// running reports whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends the process at once, as kill -9 does, and waits until it is gone. It may have ended before.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails if it has ended
	<-p.ended
}

// signal sends a signal.
func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("sending %v: %v", s, err)
	}
}

// exit waits until the process ends by itself, and returns its exit code: -1 if a signal ended it.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(ample):
		t.Fatalf("process %d does not end", p.cmd.Process.Pid)
		return 0
	}
}

// result is what came of a command.
type result struct {
	out, err string
	code     int
}

// command runs the broker's command line to its end. It may be called from any goroutine.
func command(t *testing.T, args ...string) result {
	t.Helper()
	return commandWith(t, "", args...)
}

// commandWith is command with text on standard input.
func commandWith(t *testing.T, input string, args ...string) result {
	t.Helper()
	brokertest.NoteSources()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"TZ=UTC"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	cmd.SysProcAttr = brokertest.EndWithParent()
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || ctx.Err() != nil {
		t.Errorf("running broker %s: %v", strings.Join(args, " "), errors.Join(err, ctx.Err()))
	}
	return result{out: out.String(), err: errs.String(), code: cmd.ProcessState.ExitCode()}
}
