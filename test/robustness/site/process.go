package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// ErrNotRunning is the cause where a process is asked for that does not run.
var ErrNotRunning = errors.New("the process does not run")

var errClosed = errors.New("the site is closed")

// Process is a program that can be ended and started again.
type Process struct {
	// Log is the path of what it writes.
	Log string

	name    string // in errors
	host    *host
	command []string
	env     []string
	event   history.Event // of the history, but for times, code and detail
	history *history.Recorder
	trouble *trouble

	mu     sync.Mutex // guards all below, and is never held while the process is waited for
	life   *life      // the latest; nil before the first
	closed bool       // no more lives
}

// life is one run of a program.
type life struct {
	cmd   *exec.Cmd
	ended chan struct{}
	from  int64 // where in the log it began

	// What it was told, guarded by Process.mu.
	paused, terminated, killed, late bool
	told                             time.Duration // when it was first told to end
}

func (l *life) running() bool {
	if l == nil {
		return false
	}
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// start starts the program unless it runs, and reports whether it did.
func (p *Process) start() (*life, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.running() {
		return p.life, false, nil
	}
	if p.closed {
		return nil, false, fmt.Errorf("starting %s: %w", p.name, errClosed)
	}
	log, err := os.OpenFile(p.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("starting %s: %w", p.name, err)
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("starting %s: %w", p.name, err)
	}
	// Nothing ends it but Kill, its parent's death, and itself.
	l := &life{cmd: exec.CommandContext(context.Background(), p.command[0], p.command[1:]...), ended: make(chan struct{}), from: info.Size()}
	l.cmd.Env, l.cmd.Stdout, l.cmd.Stderr, l.cmd.SysProcAttr = p.env, log, log, ownedAlone()
	sent := p.history.Now()
	if err := p.host.own.do(l.cmd.Start); err != nil {
		return nil, false, fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.note(sent, history.ProcessStarted, "")
	p.life = l
	go p.await(l)
	return l, true, nil
}

// await waits for the end of a life, and judges it.
func (p *Process) await(l *life) {
	_ = l.cmd.Wait() // ProcessState has it
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.told == 0 {
		l.told = p.history.Now()
	}
	how, wrong := p.judge(l)
	p.note(l.told, history.ProcessEnded, how)
	if wrong {
		p.trouble.add(fmt.Errorf("%s %s: the end of its log:\n%s", p.name, how, tail(p.Log, l.from)))
	}
	close(l.ended)
}

// judge says how a life ended, and whether that was not wished for. It is called with mu held.
func (p *Process) judge(l *life) (how string, wrong bool) {
	state := l.cmd.ProcessState
	status, _ := state.Sys().(syscall.WaitStatus)
	switch {
	case l.late:
		return "did not shut down in time", true
	case l.killed && status.Signaled() && status.Signal() == syscall.SIGKILL:
		return "was killed", false
	case l.terminated && state.ExitCode() == 0:
		return "shut down", false
	case panickedAsTold(p.Log, l.from):
		return "panicked at a failpoint", false
	case l.terminated:
		return fmt.Sprintf("did not shut down in good order (%v)", state), true
	default:
		return fmt.Sprintf("crashed (%v)", state), true
	}
}

// note writes an event into the history.
func (p *Process) note(sent time.Duration, code, detail string) {
	e := p.event
	e.Kind, e.Sent, e.Received, e.Code, e.Detail = history.Process, sent, p.history.Now(), code, detail
	p.history.Add(e)
}

// Running reports whether the process has not ended. One that is paused runs.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life.running()
}

// Kill ends the process at once, as kill -9 does, and returns when it is gone. It does nothing if it does not run.
func (p *Process) Kill() error {
	l, err := p.tell(syscall.SIGKILL, func(l *life) { l.killed = true })
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	<-l.ended
	return nil
}

// Pause stops the process where it is, as SIGSTOP does, and returns when it stands still.
func (p *Process) Pause() error {
	l, err := p.tell(syscall.SIGSTOP, func(l *life) { l.paused = true })
	if err != nil {
		return err
	}
	late := time.After(signalTime)
	for p.paused() && !standsStill(l.cmd.Process.Pid) {
		select {
		case <-time.After(time.Millisecond):
		case <-late:
			return fmt.Errorf("pausing %s: it does not stand still", p.name)
		}
	}
	return nil
}

// Resume lets a paused process go on. It does nothing if it is not paused, or does not run.
func (p *Process) Resume() error {
	_, err := p.tell(syscall.SIGCONT, func(l *life) { l.paused = false })
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	return err
}

// tell sends a signal, after the life has been marked with what it means.
func (p *Process) tell(signal syscall.Signal, mark func(*life)) (*life, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.life
	if !l.running() {
		return nil, fmt.Errorf("sending %v to %s: %w", signal, p.name, ErrNotRunning)
	}
	ending := l.terminated || l.killed
	mark(l)
	if !ending && (l.terminated || l.killed) {
		l.told = p.history.Now()
	}
	// A process that is gone, but not yet noticed to be, is as good as signalled.
	if err := l.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("sending %v to %s: %w", signal, p.name, err)
	}
	return l, nil
}

// paused reports whether the process runs and is paused.
func (p *Process) paused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life.running() && p.life.paused
}

// terminate tells the process to shut down, and returns when it has. One that takes longer than ctx is ended by a signal upon which a Go
// program writes where its goroutines are, and if that does not help, is killed.
func (p *Process) terminate(ctx context.Context) error {
	if err := p.Resume(); err != nil {
		return err
	}
	l, err := p.tell(syscall.SIGTERM, func(l *life) { l.terminated = true })
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	select {
	case <-l.ended:
	case <-ctx.Done():
		if _, err := p.tell(syscall.SIGQUIT, func(l *life) { l.late = true }); err == nil {
			select {
			case <-l.ended:
			case <-time.After(signalTime):
				return errors.Join(fmt.Errorf("stopping %s: it does not end: %w", p.name, context.Cause(ctx)), p.Kill())
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if how, wrong := p.judge(l); wrong {
		return fmt.Errorf("stopping %s: it %s", p.name, how)
	}
	return nil
}

// close ends the process, and lets it not be started again.
func (p *Process) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.Kill()
}
