//go:build unix && !solaris && !illumos && !aix

package agent

import (
	"errors"
	"os"
	"syscall"
)

// lockFolder locks a folder against others who do, and returns what unlocks it. Blocks while another holds the lock.
func lockFolder(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return func() { d.Close() }, nil
}

// keepClosed has a socket made that only its owner can connect to, until it gets its permissions. Linux heeds that; elsewhere it is the
// umask that counts in the meantime.
func keepClosed(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}
