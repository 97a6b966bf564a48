package site

import "syscall"

// endWithParent lets a process end with the test process, even if that is killed or runs into its time limit.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
