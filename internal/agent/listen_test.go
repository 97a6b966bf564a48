package agent_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/agent"
)

// socketPath returns the path of a socket that is not there, in a folder with a short name: systems take paths of about 100 bytes.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-") //nolint:usetesting // t.TempDir has the name of the test in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "a.sock")
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

// abandon leaves a socket at which nobody listens, as a process does that is killed.
func abandon(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestASocketHasItsModeAndGoesWithItsListener(t *testing.T) {
	path := socketPath(t)
	abandon(t, path) // to be replaced
	l, err := agent.Listen("unix://"+path, 0o620)
	if err != nil {
		t.Fatal(err)
	}
	if got := mode(t, path); got != fs.ModeSocket|0o620 {
		t.Errorf("the mode is %v", got)
	}
	if l.Addr().String() != path {
		t.Errorf("the address is %v", l.Addr())
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestTheSocketOfALivingAgentIsRefused(t *testing.T) {
	path := socketPath(t)
	first, err := agent.Listen("unix:"+path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := agent.Listen("unix://"+path, 0o600); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("the second gets %v", err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first cannot be reached any more: %v", err)
	}
	conn.Close()
}

func TestOneOfManyWhoStartAtOnceGetsADeadAgentsSocket(t *testing.T) {
	path := socketPath(t)
	for range 20 {
		abandon(t, path)
		var won atomic.Int32
		var all sync.WaitGroup
		listeners := make([]net.Listener, 8)
		for i := range listeners {
			all.Go(func() {
				if l, err := agent.Listen("unix://"+path, 0o600); err == nil {
					listeners[i] = l
					won.Add(1)
				}
			})
		}
		all.Wait()
		if n := won.Load(); n != 1 {
			t.Errorf("%d listen", n)
		}
		for _, l := range listeners {
			if l != nil {
				l.Close()
			}
		}
	}
}

func TestWhatIsNotAnAgentsIsLeftAlone(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Listen("unix://"+path, 0o600); err == nil || content(path) != "precious" {
		t.Errorf("got %v, and the file has %q", err, content(path))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l, err := agent.Listen("unix://"+path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // by somebody, who then takes the place
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if content(path) != "precious" {
		t.Error("the end of the listener took away what is another's")
	}
}

func TestOnlyThisHostIsServed(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:7701", "example.com:7701", "7701", "", "unix:relative.sock", "unix:///no/such/folder/a.sock"} {
		if l, err := agent.Listen(address, 0o600); err == nil {
			t.Errorf("%q is listened on", address)
			l.Close()
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		l, err := agent.Listen(address, 0o600)
		if err != nil {
			t.Errorf("%q: %v", address, err)
			continue
		}
		l.Close()
	}
}
