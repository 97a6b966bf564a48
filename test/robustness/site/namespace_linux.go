package site

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// namespace is a network namespace without a name: the kernel takes it away, with the cards in it, when it is closed and the last process
// and socket in it are gone, also if the suite is killed. The nil namespace is the one in which the suite itself runs.
type namespace struct {
	rtnl *netlink.Handle // acts upon it; nil only until it is made

	mu     sync.RWMutex   // guards handle
	handle netns.NsHandle // a file that no process inherits
}

// newNamespace makes one that is empty but for the loopback card.
func newNamespace() (*namespace, error) {
	n := &namespace{handle: netns.None()}
	err := visit(func() (err error) {
		n.handle, err = netns.New()
		return err
	}, func() (err error) {
		n.rtnl, err = netlink.NewHandle(syscall.NETLINK_ROUTE)
		return err
	})
	if err == nil {
		err = n.rtnl.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo"}})
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("making one: %w", err)
	}
	return n, nil
}

// do calls f in the namespace. Processes that it starts and sockets that it makes belong there for good; goroutines that it starts do
// not.
func (n *namespace) do(f func() error) error {
	if n == nil {
		return f()
	}
	return visit(func() error {
		n.mu.RLock()
		defer n.mu.RUnlock()
		return netns.Set(n.handle)
	}, f)
}

// visit calls f on a thread that enter has taken to another namespace, and brings the thread home. It lives on, as it must: processes
// that f started die with it.
func visit(enter, f func() error) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			ended <- err
			return
		}
		defer func() { _ = home.Close() }()
		if err = enter(); err == nil {
			err = f()
		}
		lost := netns.Set(home)
		if lost == nil {
			runtime.UnlockOSThread() // or else it ends with this goroutine
		}
		ended <- errors.Join(err, lost)
	}()
	return <-ended
}

// close gives up the suite's hold on the namespace.
func (n *namespace) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.rtnl != nil {
		n.rtnl.Close()
	}
	if n.handle.IsOpen() {
		_ = n.handle.Close()
	}
}
