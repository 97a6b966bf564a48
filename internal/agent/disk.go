package agent

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
)

// tempSuffix ends the name of a file that is being written.
const tempSuffix = ".tmp"

// replace puts a file with the data in the place of the old one, in one step that outlives a crash of the machine. Nobody ever finds half
// of it, or finds it with other permissions.
func replace(path string, data []byte, mode fs.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path)+"*"+tempSuffix) // of mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Chmod(mode)
	}
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// remove removes a file. It may be gone already.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a change of a folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func tempPrefix(path string) string { return "." + filepath.Base(path) + "." }

// sweep removes what a predecessor that died left half written.
func sweep(path string) error {
	dir := filepath.Dir(path)
	found, err := os.ReadDir(dir)
	for _, e := range found {
		if strings.HasPrefix(e.Name(), tempPrefix(path)) && strings.HasSuffix(e.Name(), tempSuffix) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// inherit returns what the file says that a predecessor left; nothing if that is of no use.
func (f File) inherit() statement {
	data, err := os.ReadFile(f.Path)
	var s statement
	if f.Bare || err != nil || json.Unmarshal(data, &s) != nil || s.Name != f.Token || s.State == tokenbroker.Expired.String() {
		return statement{}
	}
	return s
}
