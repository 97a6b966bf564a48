package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/atomicfile"
)

// Linux has a folder of that kind everywhere.
func TestAFolderThatCannotBeSyncedIsNoError(t *testing.T) {
	const unsyncable = "/proc"
	dir, err := os.Open(unsyncable)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := dir.Sync(); !errors.Is(err, syscall.EINVAL) {
		t.Fatalf("%s can be synced: %v", unsyncable, err)
	}
	if err := atomicfile.SyncFolder(unsyncable); err != nil {
		t.Error(err)
	}
	if err := atomicfile.SyncFolder(unsyncable + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
