package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks is how many a second the kernel counts processor time in, on every architecture that Go knows.
const ticks = 100

// proc reads what the kernel tells of a process. dir is its folder below /proc.
type proc struct{ dir string }

func procOf(pid int) proc { return proc{"/proc/" + strconv.Itoa(pid)} }

// cpu is the processor time that the process has used, by all its threads.
func (p proc) cpu() (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(p.dir, "stat"))
	if err != nil {
		return 0, fmt.Errorf("reading processor time: %w", err)
	}
	// The second field is the program's name in brackets, which may have anything in it. What follows begins with the third.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const user, system = 14 - 3, 15 - 3
	if len(fields) <= system {
		return 0, fmt.Errorf("reading processor time: %s/stat has %d fields after the name", p.dir, len(fields))
	}
	var sum int64
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading processor time: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}

// memory is the resident set in bytes: now, and at its peak since the start or the last forgetPeak.
func (p proc) memory() (now, peak int64, err error) {
	text, err := os.ReadFile(filepath.Join(p.dir, "status"))
	if err != nil {
		return 0, 0, fmt.Errorf("reading memory: %w", err)
	}
	for name, to := range map[string]*int64{"VmRSS": &now, "VmHWM": &peak} {
		_, rest, found := strings.Cut("\n"+string(text), "\n"+name+":")
		fields := strings.Fields(rest)
		if !found || len(fields) < 2 || fields[1] != "kB" {
			return 0, 0, fmt.Errorf("reading memory: %s/status has no %s in kB", p.dir, name)
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading memory: %w", err)
		}
		*to = n << 10
	}
	return now, peak, nil
}

// forgetPeak makes the peak of the resident set begin anew.
func (p proc) forgetPeak() error {
	if err := os.WriteFile(filepath.Join(p.dir, "clear_refs"), []byte("5"), 0); err != nil {
		return fmt.Errorf("resetting the peak of memory: %w", err)
	}
	return nil
}

// descriptors is how many files and connections the process has open.
func (p proc) descriptors() (int, error) {
	dir, err := os.Open(filepath.Join(p.dir, "fd"))
	if err != nil {
		return 0, fmt.Errorf("counting descriptors: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, fmt.Errorf("counting descriptors: %w", err)
	}
	return len(names), nil
}
