package etcdtest

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// Direction is the direction of what a Proxy passes on.
type Direction uint8

// The directions. Both is their union.
const (
	ToServer Direction = 1 << iota
	ToClient
	Both = ToServer | ToClient
)

// Proxy stands between one client and one member, and breaks their network on demand. Its methods are safe for concurrent use and
// take effect at once, on open connections too.
type Proxy struct {
	listener net.Listener
	target   string
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

// Proxy starts a proxy in front of the member.
func (s *Server) Proxy(tb testing.TB) *Proxy {
	tb.Helper()
	return newProxy(tb, s.Endpoint())
}

func newProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("starting a proxy: %v", err)
	}
	p := &Proxy{
		listener: l,
		target:   strings.TrimPrefix(target, "http://"),
		ways:     make(map[Direction]way),
		conns:    make(map[net.Conn]struct{}),
		changed:  make(chan struct{}),
	}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// Endpoint returns the URL for clients.
func (p *Proxy) Endpoint() string { return "http://" + p.listener.Addr().String() }

// Client returns a client that reaches the member through the proxy only: see Dial.
func (p *Proxy) Client(tb testing.TB, opts ...grpc.DialOption) *clientv3.Client {
	tb.Helper()
	return Dial(tb, []string{p.Endpoint()}, opts...)
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

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target) // loopback: answers at once
		if err != nil || !p.admit(client, server) {
			_ = client.Close()
			if server != nil {
				_ = server.Close()
			}
			continue
		}
		p.wg.Go(func() {
			var pair sync.WaitGroup
			pair.Go(func() { p.pass(ToServer, client, server) })
			pair.Go(func() { p.pass(ToClient, server, client) })
			pair.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.conns, client)
			delete(p.conns, server)
		})
	}
}

// admit registers a connection unless the proxy is cut.
func (p *Proxy) admit(ends ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	for _, c := range ends {
		p.conns[c] = struct{}{}
	}
	return true
}

// parcel is a piece of a stream and when it arrived.
type parcel struct {
	bytes []byte
	at    time.Time
}

// pass carries one direction of one connection until either end is closed, and closes both.
func (p *Proxy) pass(d Direction, from, to net.Conn) {
	parcels, gone := make(chan parcel, 1024), make(chan struct{})
	p.wg.Go(func() {
		defer close(parcels)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			select {
			case parcels <- parcel{buf[:n], time.Now()}:
			case <-gone:
				return
			}
		}
	})
	defer func() {
		_ = from.Close()
		_ = to.Close()
		close(gone)
	}()
	for next := range parcels {
		if !p.await(d, next.at) {
			return
		}
		if _, err := to.Write(next.bytes); err != nil {
			return
		}
	}
}

// await waits until what arrived at this time may be delivered. It reports whether anything may be: not after a cut.
func (p *Proxy) await(d Direction, arrived time.Time) bool {
	for {
		p.mu.Lock()
		w, cut, changed := p.ways[d], p.cut, p.changed
		p.mu.Unlock()
		if cut {
			return false
		}
		due := time.Until(arrived.Add(w.delay))
		if due <= 0 && !w.held {
			return true
		}
		var timer <-chan time.Time
		if !w.held {
			timer = time.After(due)
		}
		select {
		case <-timer:
		case <-changed:
		}
	}
}
