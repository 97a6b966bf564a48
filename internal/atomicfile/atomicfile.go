package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// tempSuffix ends the name of a file that is being written.
const tempSuffix = ".tmp"

// Write puts a file with the data and the permissions, whatever the umask, in the place of the old one, if there is one. After an error the
// old content stands, unless only the folder could not be synced: then it is not known which one would outlive a crash of the machine.
func Write(path string, data []byte, mode fs.FileMode) error {
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
	return syncFolder(filepath.Dir(path))
}

// Remove removes a file. It may be gone already.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// Sweep removes what writers of the file that died left half written.
func Sweep(path string) error {
	dir := filepath.Dir(path)
	found, err := os.ReadDir(dir)
	for _, e := range found {
		if halfOf(path, e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// halfOf reports whether a name is one that Write gives to what will be the file. That of another file whose name begins alike has a dot more.
func halfOf(path, name string) bool {
	random, begins := strings.CutPrefix(name, tempPrefix(path))
	random, ends := strings.CutSuffix(random, tempSuffix)
	return begins && ends && !strings.Contains(random, ".")
}

func tempPrefix(path string) string { return "." + filepath.Base(path) + "." }

// syncFolder makes a change of a folder last. Some file systems have no such thing, and say so: there is nothing to be done then.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
