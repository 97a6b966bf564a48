package site

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// process is a program that runs, with nothing in its environment but what is given.
type process struct {
	cmd   *exec.Cmd
	err   brokertest.Transcript
	ended chan struct{}
}

// start starts a program that is told to end, and must do so in good order, when the test does.
func start(tb testing.TB, env []string, path string, args ...string) *process {
	tb.Helper()
	brokertest.NoteSources()
	p := &process{cmd: exec.CommandContext(context.Background(), path, args...), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"TMPDIR=" + tb.TempDir()}, env...)
	p.cmd.Stderr, p.cmd.SysProcAttr = &p.err, brokertest.EndWithParent()
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
		tb.Logf("the end of its log:\n%s", p.err.Tail(40))
	}
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
