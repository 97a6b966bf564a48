package site

import "syscall"

// endWithParent lets a process end with this one, even if this one is killed.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
