package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// probeTime is how long the system may take to say whether anybody listens on a socket.
const probeTime = time.Second

// Listen listens on a unix socket (unix:///run/broker/agent.sock) of the mode given, or on a loopback address (127.0.0.1:7701). Other
// addresses are refused: nobody who connects is asked who he is.
func Listen(address string, mode fs.FileMode) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		l, err := listenUnix(path, mode)
		if err != nil {
			return nil, fmt.Errorf("listening on the socket %s: %w", path, err)
		}
		return l, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: it is neither unix:///PATH nor host:port", address)
	}
	if host == "localhost" {
		host = "127.0.0.1" // whatever the host's files and name servers make of it
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("listening on %q: an agent hands tokens to whoever connects, and so listens on loopback addresses and unix sockets only", address)
	}
	return net.Listen("tcp", net.JoinHostPort(host, port))
}

// socket is a listener on a unix socket that takes the socket away when it is closed.
type socket struct {
	*net.UnixListener
	path  string
	made  fs.FileInfo
	close func() error
}

// listenUnix takes the place of a socket whose process has died, and of no other.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("write an absolute path")
	}
	unlock, err := lockFolder(filepath.Dir(path)) // two agents that start at once look and act one after the other
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := vacate(path); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{Control: keepClosed}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w (systems take paths of about 100 bytes)", err)
	}
	s := &socket{UnixListener: l.(*net.UnixListener), path: path} //nolint:errcheck // of the network "unix"
	s.SetUnlinkOnClose(false)
	s.close = sync.OnceValue(s.end)
	if err = os.Chmod(path, mode); err == nil {
		s.made, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path), s.UnixListener.Close())
	}
	return s, nil
}

// vacate takes away a socket at which nobody listens. Its error is why the path cannot be taken.
func vacate(path string) error {
	there, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case there.Mode()&fs.ModeSocket == 0:
		return errors.New("something else than a socket is there")
	}
	conn, err := (&net.Dialer{Timeout: probeTime}).Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return errors.New("another process listens there; end it first, or choose another path")
	}
	return os.Remove(path)
}

// Close takes the socket away, and stops listening.
func (s *socket) Close() error { return s.close() }

func (s *socket) end() error {
	var err error
	if there, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(s.made, there) {
		err = os.Remove(s.path) // while it can be seen that somebody listens, nobody else takes the place
	}
	return errors.Join(err, s.UnixListener.Close())
}
