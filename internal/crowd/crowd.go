// Package crowd bounds how many of something there are at once: in all, and of one address, so that nobody takes the room of everybody.
package crowd

import (
	"net/netip"
	"sync"
)

// Crowd counts those who are there. It is safe for concurrent use, and nothing blocks.
type Crowd struct {
	all, each int

	mu    sync.Mutex
	count int
	from  map[netip.Prefix]int // nothing is kept of addresses of which nobody is there
}

// New returns a Crowd with room for so many in all, and for so many of each address.
func New(all, each int) *Crowd {
	return &Crowd{all: all, each: each, from: map[netip.Prefix]int{}}
}

// Enter counts one more that comes from host:port, unless there is no room. Those who come from no address share one place. Who has entered must call leave, once.
func (c *Crowd) Enter(address string) (leave func(), ok bool) {
	from := Neighborhood(address)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count >= c.all || c.from[from] >= c.each {
		return nil, false
	}
	c.count++
	c.from[from]++
	return func() { c.leave(from) }, true
}

func (c *Crowd) leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count--
	if c.from[from]--; c.from[from] == 0 {
		delete(c.from, from)
	}
}

// Neighborhood is the part of an address, host:port, that its holder cannot choose: all of one of IPv4, and 64 bits of one of IPv6, which is
// what one subscriber has. Whatever is no such address has none, which is not valid.
func Neighborhood(address string) netip.Prefix {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Prefix{}
	}
	ip := at.Addr().Unmap()
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits) // without the zone
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
