package transport

import (
	"errors"
	"net"
	"net/netip"
	"sync"
)

// Calls that were begun and whose request has not arrived: gRPC gives each of them a goroutine, and nobody asks who makes it before the
// request is there. So it is counted here, where the bytes arrive; a call takes no memory of its own for that.
const (
	// maxBegun is of all connections together: with 16 KB each, 128 MB.
	maxBegun = 8192
	// maxBegunByNeighbor is ample for a proxy: clients send a request along with the beginning of its call.
	maxBegunByNeighbor = 2048
)

var errTooManyBegun = errors.New("too many calls were begun whose requests have not arrived")

// waiting counts the calls of all connections whose request has not arrived.
type waiting struct {
	mu         sync.Mutex
	all        int
	byNeighbor map[netip.Prefix]int // nothing is kept of those who have none
}

// change counts n more, or fewer, and reports whether that is within the limits. What is beyond is counted, too.
func (w *waiting) change(from netip.Prefix, n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all += n
	of := w.byNeighbor[from] + n
	if of == 0 {
		delete(w.byNeighbor, from)
	} else {
		w.byNeighbor[from] = of
	}
	return n <= 0 || w.all <= maxBegun && of <= maxBegunByNeighbor
}

// counted is a connection of HTTP/2 that is read no further once too many calls are begun.
type counted struct {
	net.Conn
	of     *waiting
	from   netip.Prefix
	frames frames // of the one who reads

	mu     sync.Mutex
	held   int // what it has counted in of
	closed bool
}

func (w *waiting) count(conn net.Conn) *counted {
	return &counted{Conn: conn, of: w, from: neighbor(conn.RemoteAddr()), frames: frames{skip: len(preface), begun: map[uint32]struct{}{}}}
}

// Read implements net.Conn. As always, one reads at a time.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.frames.see(p[:n])
	if !c.hold(len(c.frames.begun)) {
		return 0, errTooManyBegun
	}
	return n, err
}

// hold counts that so many calls are begun now, and reports whether that is within the limits.
func (c *counted) hold(begun int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	more := begun - c.held
	if more == 0 || c.closed {
		return true
	}
	c.held = begun
	return c.of.change(c.from, more)
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.mu.Lock()
	if !c.closed { // in one step: who reads meanwhile must not count anything that nobody takes back
		c.closed = true
		c.of.change(c.from, -c.held)
	}
	c.mu.Unlock()
	return c.Conn.Close()
}
