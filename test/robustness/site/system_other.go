//go:build !linux

package site

import "syscall"

// endWithParent does nothing here: only Linux can end a process with its parent. Processes that a killed run leaves behind must be
// ended by hand.
func endWithParent() *syscall.SysProcAttr { return nil }

// standsStill takes it that a process stops with the signal: only Linux tells.
func standsStill(int) bool { return true }
