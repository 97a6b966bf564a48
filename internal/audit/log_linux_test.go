package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/audit"
)

// fullDisk returns a folder on a file system of 64 KiB of its own, which the test may fill. Only root can have one.
func fullDisk(t *testing.T) (dir string, ok bool) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		if os.Geteuid() == 0 && !errors.Is(err, syscall.EPERM) {
			t.Fatal(err)
		}
		t.Logf("no file system can be mounted here (%v); /dev/full stands for it in the other test", err)
		return "", false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

func TestFileSystemThatFillsUpLeavesWholeLinesOnceItHasRoom(t *testing.T) {
	dir, ok := fullDisk(t)
	if !ok {
		return
	}
	ballast, file := filepath.Join(dir, "ballast"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(ballast, make([]byte, 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	k := keep(t, audit.Config{File: file, Refuse: true, Patience: time.Minute})
	var made, refused int
	for range 400 {
		switch err := k.Append(audit.Record{Token: strings.Repeat("x", 80)}); {
		case err == nil:
			made++
		case errors.Is(err, audit.ErrUnrecorded):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if made < 50 || refused < 50 || !k.failing() {
		t.Fatalf("%d lines were made and %d refused, failing: %v", made, refused, k.failing())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := k.Append(audit.Record{Token: "again"}); err != nil || k.failing() {
		t.Fatalf("with room again: %v, failing: %v", err, k.failing())
	}
	if err := k.stop(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var whole []string
	for line := range strings.Lines(string(data)) {
		if strings.HasSuffix(line, "}\n") {
			whole = append(whole, line)
		}
	}
	got := parse(t, []byte(strings.Join(whole, "")))
	last, lost := got[len(got)-1], got[len(got)-2]
	if len(got) != made+2 || last["token"] != "again" || lost["phase"] != "lost" || lost["lost"] != float64(refused) {
		t.Errorf("%d whole lines, %d were made; the last are %v, %v; %d were refused", len(got), made, lost, last, refused)
	}
	if torn := strings.Count(string(data), "\n") - len(whole); torn > 1 {
		t.Errorf("%d half lines", torn)
	}
}
