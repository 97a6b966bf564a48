//go:build !linux

package site

import "syscall"

// endWithParent does nothing here: only Linux can end a process with its parent.
func endWithParent() *syscall.SysProcAttr { return nil }
