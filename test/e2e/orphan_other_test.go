//go:build !linux

package e2e_test

import "syscall"

// endWithParent does nothing here: only Linux can end a process with its parent. Processes that a killed test leaves behind must be
// ended by hand.
func endWithParent() *syscall.SysProcAttr { return nil }
