package transport

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"time"
)

// closeAhead is how long before the end of a caller's certificate its connection is closed. It is more than the files are looked at, so
// that a caller who has a newer one connects with it, and is never refused for the old one.
const closeAhead = 2 * lookEvery

// connections are those whose callers have shown certificates.
type connections struct {
	mu   sync.Mutex
	open map[*connection]struct{}
}

// connection is one of gRPC's.
type connection struct {
	*tls.Conn
	raw   net.Conn
	state tls.ConnectionState
	of    *connections
	// checked is what the certificate was verified with last, and expires when the chain does. Only closeInvalid touches them.
	checked *material
	expires time.Time
}

func (cs *connections) add(c *connection) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.open[c] = struct{}{}
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// closeInvalid closes the connections whose callers could not, or soon not, make another with the same certificate, and returns how many.
func (cs *connections) closeInvalid(present *material) int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	at, closed := time.Now().Add(closeAhead), 0
	for c := range cs.open {
		if c.checked == present && at.Before(c.expires) {
			continue
		}
		if present.vouches(&c.state, at) != nil {
			c.raw.Close() // gRPC notices, and closes the rest; a goodbye could block here
			delete(cs.open, c)
			closed++
		}
		c.checked = present
	}
	return closed
}

// firstEnd is when the first of the certificates ends.
func firstEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, link := range chain[1:] {
		if link.NotAfter.Before(end) {
			end = link.NotAfter
		}
	}
	return end
}
