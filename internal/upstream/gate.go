package upstream

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Stages of one attempt, in order.
type stage int

const (
	dialling stage = iota // no connection yet
	proxying              // connected; talking to a proxy, if there is one
	securing              // TLS handshake
	armed                 // the next write is the request's
	writing               // its first bytes are being handed to the socket
	written               // the socket took some
	refused               // nothing was written and nothing will be
)

var (
	errGateShut   = errors.New("the attempt is over")
	errSecondDial = errors.New("the attempt has had its connection")
)

// gate watches the connection of one attempt and knows whether a byte of the request was written.
type gate struct {
	before  func() error
	after   func()
	proxied bool
	left    chan struct{} // closed when the first write has returned

	mu       sync.Mutex // held while before and after run; never while writing to the socket
	stage    stage
	last     stage // the stage in which it was refused
	dialled  bool
	over     bool // the verdict is being given
	conn     net.Conn
	held     error // what before returned
	answered bool  // a first byte of an answer came
}

func newGate(before func() error, after func(), proxied bool) *gate {
	return &gate{before: before, after: after, proxied: proxied, left: make(chan struct{})}
}

// verdict is what is known of an attempt once it is over.
type verdict struct {
	written  bool
	answered bool
	stage    stage // where it ended, if nothing was written
	held     error
}

// dial reserves the attempt's only connection.
func (g *gate) dial() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return errGateShut
	}
	if g.dialled {
		return errSecondDial
	}
	g.dialled = true
	return nil
}

// adopt wraps the dialled connection, which must be ready for the request by a deadline. It closes one that comes too late.
func (g *gate) adopt(conn net.Conn, ready time.Time) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		_ = conn.Close()
		return nil, errGateShut
	}
	if err := conn.SetDeadline(ready); err != nil {
		_ = conn.Close()
		return nil, err
	}
	g.conn = conn
	g.stage = securing
	if g.proxied {
		g.stage = proxying
	}
	return &gatedConn{Conn: conn, gate: g}, nil
}

// reach advances to a later stage before writing.
func (g *gate) reach(s stage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stage < s && s <= armed {
		g.stage = s
	}
	if g.stage == armed {
		_ = g.conn.SetDeadline(time.Time{}) // from here on the attempt's own end counts
	}
}

func (g *gate) firstByte() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answered = true
}

// enter admits a write. first is true for the one that carries the request's first byte.
func (g *gate) enter() (first bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || g.stage == refused {
		return false, errGateShut
	}
	if g.stage != armed {
		return false, nil
	}
	if g.before != nil {
		if err := g.before(); err != nil {
			g.held = err
			g.refuse()
			return false, errGateShut
		}
	}
	g.stage = writing
	return true, nil
}

// leave learns how the first write went. One that took nothing leaves the request unwritten and shuts the gate.
func (g *gate) leave(n int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer close(g.left)
	if n == 0 && err != nil {
		g.refuse()
		return
	}
	g.stage = written
	if g.after != nil {
		g.after()
	}
}

// refuse is called with mu held.
func (g *gate) refuse() { g.last, g.stage = g.stage, refused }

// finish lets nothing through any more, closes the connection and gives the verdict. It waits for a write that is under way: the
// closing ends it, and only it knows how many bytes were taken.
func (g *gate) finish() verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.stage < writing {
		g.refuse()
	}
	if g.conn != nil {
		_ = g.closeConn()
	}
	if g.stage == writing {
		g.mu.Unlock()
		<-g.left
		g.mu.Lock()
	}
	return verdict{written: g.stage == written, answered: g.answered, stage: g.last, held: g.held}
}

// closeConn is called with mu held. It breaks off a connection without an answer: the kernel would go on sending the request, long after
// anybody waits for that.
func (g *gate) closeConn() error {
	if tcp, ok := g.conn.(*net.TCPConn); ok && !g.answered {
		_ = tcp.SetLinger(0)
	}
	return g.conn.Close()
}

// gatedConn is the socket as the transport sees it.
type gatedConn struct {
	net.Conn
	gate *gate
}

// Write hands bytes to the socket if the gate admits them.
func (c *gatedConn) Write(p []byte) (int, error) {
	first, err := c.gate.enter()
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if first {
		c.gate.leave(n, err)
	}
	return n, err
}

// Close is how the transport ends the connection, which it does before anybody else where an answer does not come in time.
func (c *gatedConn) Close() error {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	return c.gate.closeConn()
}
