package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/atomicfile"
)

// put writes files as anybody would.
func put(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// folder lists what is in a folder.
func folder(t *testing.T, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}

func TestAFileHasTheNewContentAndThePermissionsThatWereAskedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for i, mode := range []fs.FileMode{0o600, 0o640, 0o666, 0o400, 0o644} { // more than the umask leaves, and less than to write it again
		data := []byte{byte(i)}
		if err := atomicfile.Write(path, data, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != mode {
			t.Errorf("written with %v: %v, %v", mode, info.Mode(), err)
		}
		if got, err := os.ReadFile(path); err != nil || !slices.Equal(got, data) {
			t.Errorf("reads as %v, %v; want %v", got, err, data)
		}
	}
	if names := folder(t, filepath.Dir(path)); !slices.Equal(names, []string{"f"}) {
		t.Errorf("the folder has %v", names)
	}
}

// Who has the old file open goes on reading the old content.
func TestAFileIsReplacedAndNotChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path)
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := atomicfile.Write(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if _, err := reader.Read(got); err != nil || string(got) != "old" {
		t.Errorf("reads %q, %v", got, err)
	}
}

func TestWhatCannotBeWrittenLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "by a folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(taken, []byte("new"), 0o600); err == nil {
		t.Error("a folder was replaced")
	}
	if names := folder(t, dir); !slices.Equal(names, []string{"taken"}) {
		t.Errorf("the folder has %v", names)
	}
	if err := atomicfile.Write(filepath.Join(dir, "none", "f"), []byte("new"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
}

func TestRemovingWhatIsGoneIsNoError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path)
	for range 2 {
		if err := atomicfile.Remove(path); err != nil {
			t.Error(err)
		}
	}
	if names := folder(t, filepath.Dir(path)); len(names) > 0 {
		t.Errorf("the folder has %v", names)
	}
	if err := atomicfile.Remove(filepath.Dir(filepath.Dir(path))); err == nil {
		t.Error("a folder with something in it was removed")
	}
}

func TestASweepTakesWhatIsHalfWrittenOfThisFileAlone(t *testing.T) {
	dir := t.TempDir()
	mine := []string{".shop.1.tmp", ".shop.4294967295.tmp"}
	others := []string{".shop.json.1.tmp", ".shop2.1.tmp", ".shop.1.tmp.txt", "shop", "shop.1.tmp", "shop.tmp"}
	slices.Sort(others)
	for _, name := range slices.Concat(mine, others) {
		put(t, filepath.Join(dir, name))
	}
	if err := atomicfile.Sweep(filepath.Join(dir, "shop")); err != nil {
		t.Fatal(err)
	}
	if left := folder(t, dir); !slices.Equal(left, others) {
		t.Errorf("left are %v, want %v", left, others)
	}
	if err := atomicfile.Sweep(filepath.Join(dir, "none", "shop")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
}
