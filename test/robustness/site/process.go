package site

import (
	"context"
	"errors"
)

// ErrNotRunning is the cause where a process is asked for that does not run.
var ErrNotRunning = errors.New("the process does not run")

// Process is a program that can be ended and started again.
type Process struct {
	// Log is the path of what it writes.
	Log string
}

// Running reports whether the process has not ended. One that is paused runs.
func (p *Process) Running() bool { panic("being written") }

// Kill ends the process at once, as kill -9 does, and returns when it is gone. It does nothing if it does not run.
func (p *Process) Kill() error { panic("being written") }

// Pause stops the process where it is, as SIGSTOP does.
func (p *Process) Pause() error { panic("being written") }

// Resume lets a paused process go on. It does nothing if it is not paused, or does not run.
func (p *Process) Resume() error { panic("being written") }

// AwaitEnd returns when the process has ended: at once if it does not run.
func (p *Process) AwaitEnd(ctx context.Context) error { panic("being written") }
