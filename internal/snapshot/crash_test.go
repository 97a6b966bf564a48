package snapshot_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/snapshot"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// writerVariable makes the test's own program a writer of snapshots: it names the file.
const writerVariable = "SNAPSHOT_TEST_WRITE"

// writeForEver writes one snapshot after the other until it is killed, or nobody is left to do so. It says so when it begins.
func writeForEver(path string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(2)
	}()
	codec, err := store.New(store.Config{Namespace: namespace, Sealer: siteKey})
	var files [3][]byte
	for i := range files {
		rec := record(int64(i)+1, time.Now())
		rec.LastFailure.Code, rec.LastFailure.Message = "pad", strings.Repeat("x", 1<<20)
		if err == nil {
			files[i], err = snapshot.Encode(snapshot.Snapshot{Namespace: namespace, Held: []view.Held{held("t", rec)}}, codec)
		}
	}
	for i := 0; err == nil; i++ {
		err = snapshot.Replace(path, files[i%len(files)])
		if i == 0 {
			fmt.Println("written")
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// Whenever the writer is killed, the file is whole, and what it leaves behind is swept away.
func TestACrashAtAnyMomentLeavesAWholeFile(t *testing.T) {
	s := newSite(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	halves := 0
	for round := 0; round < 60 && (round < 8 || halves < 3); round++ {
		crashOnce(t, self, s.file)
		if got, err := s.read(t); err != nil || len(got.Held) != 1 {
			t.Fatalf("after a crash %d tokens are read, %v", len(got.Held), err)
		}
		halves += len(besides(t, s.file))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.keeper(t).Run(ctx); err != nil {
			t.Fatal(err)
		}
		if left := besides(t, s.file); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
	if halves < 3 {
		t.Error("the writer was hardly ever killed while it wrote: this test shows nothing")
	}
}

// crashOnce runs a writer and kills it while it writes.
func crashOnce(t *testing.T, self, file string) {
	t.Helper()
	writer := exec.CommandContext(context.Background(), self)
	writer.Env = append(os.Environ(), writerVariable+"="+file)
	stdin, err := writer.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("written"))
	if _, err := io.ReadFull(out, first); err != nil || !bytes.Equal(first, []byte("written")) {
		t.Errorf("the writer says %q, %v", first, err)
	}
	timer := time.NewTimer(time.Duration(rand.IntN(20_000)) * time.Microsecond)
	<-timer.C
	if err := writer.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = writer.Wait() // it was killed
}

// besides lists what stands beside a file.
func besides(t *testing.T, file string) []string {
	t.Helper()
	found, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		if e.Name() != filepath.Base(file) {
			names = append(names, e.Name())
		}
	}
	return names
}
