//go:build !linux

package brokertest

import "syscall"

// EndWithParent does nothing here: only Linux can end a process with its parent. Processes that a killed test leaves behind must be
// ended by hand.
func EndWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
