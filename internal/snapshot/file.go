package snapshot

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// private is the only permission: its owner's.
	private = 0o600
	// refusedSuffix ends the name of a file that was refused.
	refusedSuffix = ".refused"
)

// Read reads the file of a cluster's replica: see Decode. Where there is none the error is fs.ErrNotExist, else a *Refusal.
func Read(path, namespace string, latest time.Time, codec Codec) (Snapshot, error) {
	data, mode, err := load(path)
	var s Snapshot
	if err == nil {
		s, err = Decode(data, namespace, latest, codec)
	}
	var refusal *Refusal
	if shared := mode & (fs.ModePerm &^ private); shared != 0 && !(errors.As(err, &refusal) && refusal.Foreign()) {
		err = refuse(Exposed, "other users of this machine may read or change it (mode "+mode.Perm().String()+")",
			"chmod 600 it, and start again; if they are not to be trusted, remove it and force a refresh of its tokens", nil)
	}
	if errors.As(err, &refusal) {
		refusal.File = path
	}
	return s, err
}

// load reads the bytes of a file that is one.
func load(path string) ([]byte, fs.FileMode, error) {
	named, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, err
	case err != nil:
		return nil, 0, unreadable(err)
	case !named.Mode().IsRegular():
		return nil, 0, refuse(NotAFile, "it is no regular file, but "+kind(named.Mode()), "name a file that does not exist yet, in a folder of the broker's own", nil)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, unreadable(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, unreadable(err)
	}
	if !os.SameFile(named, info) {
		return nil, 0, unreadable(errors.New("it was exchanged at this moment"))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return nil, 0, unreadable(err)
	case len(data) > maxSize && bytes.HasPrefix(data, []byte(magic)):
		return nil, info.Mode(), refuse(TooLarge, "it is larger than any snapshot", removeIt, nil)
	}
	return data, info.Mode(), nil
}

func unreadable(err error) *Refusal {
	return refuse(Unreadable, "it cannot be read: "+err.Error(), "let it and its folder belong to the user that the broker runs as", err)
}

// kind says what stands there instead of a file.
func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a folder"
	default:
		return "a device, a pipe or a socket"
	}
}

// setAside renames a refused file, in the place of one that was refused earlier, so that it can be looked at: by its owner alone. It
// may be gone already.
func setAside(path string) error {
	info, err := os.Lstat(path)
	if err == nil && info.Mode().IsRegular() {
		err = os.Chmod(path, private)
	}
	if err == nil {
		err = os.Rename(path, path+refusedSuffix)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
