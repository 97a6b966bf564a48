package atomicfile_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/atomicfile"
)

// writerVariable makes the test's own program a writer: it names the file.
const writerVariable = "ATOMICFILE_TEST_WRITE"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerVariable); path != "" {
		writeForEver(path)
	}
	goleak.VerifyTestMain(m)
}

// contents are what the writer writes, one after the other.
func contents() [3][]byte {
	var all [3][]byte
	for i := range all {
		all[i] = bytes.Repeat([]byte{'a' + byte(i)}, (i+1)<<20)
	}
	return all
}

// writeForEver writes one content after the other until it is killed, or nobody is left to do so. It says so when it begins.
func writeForEver(path string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(2)
	}()
	all := contents()
	var err error
	for i := 0; err == nil; i++ {
		err = atomicfile.Write(path, all[i%len(all)], 0o600)
		if i == 0 {
			fmt.Println("written")
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// Whenever the writer is killed, the file is whole, and what it leaves behind is swept away.
func TestACrashAtAnyMomentLeavesAWholeFile(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path, all, halves := filepath.Join(t.TempDir(), "f"), contents(), 0
	for round := 0; round < 60 && (round < 8 || halves < 3); round++ {
		crashOnce(t, self, path)
		got, err := os.ReadFile(path)
		whole := slices.ContainsFunc(all[:], func(c []byte) bool { return bytes.Equal(c, got) })
		if err != nil || !whole {
			t.Fatalf("after a crash the file has %d bytes, not one of the contents: %v", len(got), err)
		}
		halves += len(folder(t, filepath.Dir(path))) - 1
		if err := atomicfile.Sweep(path); err != nil {
			t.Fatal(err)
		}
		if left := folder(t, filepath.Dir(path)); len(left) != 1 {
			t.Fatalf("left behind: %v", left)
		}
	}
	if halves < 3 {
		t.Error("the writer was hardly ever killed while it wrote: this test shows nothing")
	}
}

// crashOnce runs a writer and kills it while it writes.
func crashOnce(t *testing.T, self, path string) {
	t.Helper()
	writer := exec.CommandContext(context.Background(), self)
	writer.Env = append(os.Environ(), writerVariable+"="+path)
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
