package site

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ownedAlone lets a process end with this one, even if this one is killed, and heed no other: its process group is its own, so that the
// Ctrl-C of a terminal, which goes to all in the foreground, is for the suite alone.
func ownedAlone() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// standsStill reports whether every thread of a process is stopped. SIGSTOP takes them one by one, each when it next enters the kernel.
func standsStill(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// "17 (broker) T ...", and a name may hold anything.
		if rest := text[bytes.LastIndexByte(text, ')')+1:]; !bytes.HasPrefix(rest, []byte(" T ")) {
			return false
		}
	}
	return true
}
