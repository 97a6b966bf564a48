//go:build !linux

package site

import "syscall"

// ownedAlone gives a process a process group of its own, so that the Ctrl-C of a terminal is for the suite alone. Only Linux can end a
// process with its parent: those that a killed run leaves behind must be ended by hand.
func ownedAlone() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// standsStill takes it that a process stops with the signal: only Linux tells.
func standsStill(int) bool { return true }
