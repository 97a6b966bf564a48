package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidCoreDumps keeps the kernel from writing this process's memory, with all its tokens and secrets, to a disk, however it ends: by
// SIGQUIT, by SIGABRT, or by a panic with GOTRACEBACK=crash.
//
// A process that is not dumpable leaves no core to a pipe either (core_pattern), which a limit of 0 does not see to; nor can other processes
// of the same user attach to it, or read its memory and environment below /proc. Root still can. The limit is set as well because it can be
// seen from outside, in /proc/PID/limits. Only the limit is inherited by what `broker exec` becomes, which has tokens in its environment; it
// is the soft one, so that a command that wants a core can ask for it.
func forbidCoreDumps() error {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_CORE, &limit)
	if err == nil {
		limit.Cur = 0
		err = unix.Setrlimit(unix.RLIMIT_CORE, &limit)
	}
	if err := errors.Join(err, unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	return nil
}
