package brokertest

import "syscall"

// EndWithParent lets a process end with the test process, even if that is killed or runs into its time limit.
func EndWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
