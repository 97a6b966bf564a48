package site

import "runtime"

// StandsStill reports whether the process runs and every thread of it is stopped, whoever stopped it: it may have done so itself, at a
// failpoint. Pause then makes it one that Resume lets go on. Where only Linux could tell, it is one that was paused.
func (p *Process) StandsStill() bool {
	if runtime.GOOS != "linux" {
		return p.paused()
	}
	p.mu.Lock()
	l := p.life
	p.mu.Unlock()
	return l.running() && standsStill(l.cmd.Process.Pid)
}
