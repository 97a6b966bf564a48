package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// snapshot reads where the replica keeps what it holds. A relative path would depend on where the program happens to be started, so
// that a restarted replica might not find it.
func (s *section) snapshot() snapshotConfig {
	file := s.get("file")
	defer s.end()
	if !s.present || s.broken {
		return snapshotConfig{}
	}
	path := file.required("name a file, such as /var/lib/tokenbroker/snapshot.json, or take the section away")
	switch {
	case path == "":
	case !filepath.IsAbs(path):
		file.fail(quote(path)+" is a relative path", "write it from the root on, such as /var/lib/tokenbroker/snapshot.json")
	case strings.HasSuffix(path, string(filepath.Separator)):
		file.fail(quote(path)+" names a folder", "write the name of a file after it")
	case !s.dry:
		file.snapshotFolder(filepath.Dir(path))
	}
	return snapshotConfig{File: path}
}

// snapshotFolder tries the folder that the snapshot is to stand in. The file is looked at when the replica starts.
func (v value) snapshotFolder(dir string) {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		v.fail("the folder "+quote(dir)+" "+fileTrouble(err), "make it, for the user that the broker runs as: mode 0700")
	case !info.IsDir():
		v.fail(quote(dir)+" is no folder", "name a file in a folder")
	case info.Mode()&fs.FileMode(0o002) != 0:
		v.warn("every user of this machine can put files into the folder "+quote(dir), "use one that belongs to the broker alone")
	}
}
