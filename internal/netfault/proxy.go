package netfault

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction is the direction of what a Proxy passes on.
type Direction uint8

// The directions. Both is their union.
const (
	ToServer Direction = 1 << iota
	ToClient
	Both = ToServer | ToClient
)

// Proxy stands between clients and one server, and breaks their network on demand. Its methods are safe for concurrent use and take
// effect at once, on open connections too.
type Proxy struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	stop     context.CancelFunc // ends dials
	wg       sync.WaitGroup

	mu      sync.Mutex // guards all below
	ways    map[Direction]way
	cut     bool
	conns   map[net.Conn]struct{} // both ends of each connection
	changed chan struct{}         // closed and replaced at each change
}

// way is the state of one direction.
type way struct {
	held  bool
	delay time.Duration
}

// Start starts a proxy on a free loopback port in front of target, a host:port. Somebody need not listen there yet.
func Start(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a proxy: %w", err)
	}
	return Serve(l, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", target) }), nil
}

// Serve starts a proxy for the clients of a listener, which it closes, in front of a server that dial reaches.
func Serve(l net.Listener, dial func(context.Context) (net.Conn, error)) *Proxy {
	p := &Proxy{
		listener: l,
		dial:     dial,
		ways:     make(map[Direction]way),
		conns:    make(map[net.Conn]struct{}),
		changed:  make(chan struct{}),
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.wg.Go(func() { p.accept(ctx) })
	return p
}

// Address returns the host:port for clients.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Close breaks all connections, takes no more, and returns when nothing of the proxy runs.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.stop()
	p.Cut()
	p.wg.Wait()
}

// Hold lets nothing pass in the given directions, as a network does that loses every packet: connections stay open and silent. What
// is held arrives after Heal, as TCP would send it again.
func (p *Proxy) Hold(d Direction) {
	p.change(d, func(w *way) { w.held = true })
}

// Delay delivers everything in the given directions this long after it was sent.
func (p *Proxy) Delay(d Direction, by time.Duration) {
	p.change(d, func(w *way) { w.delay = by })
}

// Cut breaks all connections, with what is under way on them, and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.wake()
}

// Heal ends whatever was wrong.
func (p *Proxy) Heal() {
	p.mu.Lock()
	p.cut = false
	p.mu.Unlock()
	p.change(Both, func(w *way) { *w = way{} })
}

func (p *Proxy) change(d Direction, change func(*way)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range []Direction{ToServer, ToClient} {
		if d&one != 0 {
			w := p.ways[one]
			change(&w)
			p.ways[one] = w
		}
	}
	p.wake()
}

// wake makes all connections look at the state again. p.mu is held.
func (p *Proxy) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}
