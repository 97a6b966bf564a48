package site_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// It is not parallel to tests that start processes: for a moment each is in the group of its parent.
func TestNoProcessIsInTheProcessGroupThatATerminalInterrupts(t *testing.T) {
	s, _ := start(t)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// "17 (broker) S 16 17 ...": the state, the parent, the group; and a name may hold anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if fields[1] != fmt.Sprint(os.Getpid()) {
			continue
		}
		found++
		if group, err := strconv.Atoi(fields[2]); err != nil || group == syscall.Getpgrp() {
			t.Errorf("in the suite's process group: %s", text)
		}
	}
	if want := len(s.Brokers) + len(s.Members); found < want {
		t.Errorf("%d processes were found, want %d at least", found, want)
	}
}
