//go:build !unix || solaris || illumos || aix

package agent

import (
	"errors"
	"syscall"
)

// lockFolder fails: without a lock, two agents that start at once may both take a socket.
func lockFolder(string) (unlock func(), err error) {
	return nil, errors.New("this system has no locks on folders: use a loopback address")
}

// keepClosed does nothing here.
func keepClosed(string, string, syscall.RawConn) error { return nil }
