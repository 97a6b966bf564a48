package netfault

import (
	"context"
	"net"
	"sync"
	"time"
)

func (p *Proxy) accept(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(ctx, client) })
	}
}

// serve carries one connection until either end is closed.
func (p *Proxy) serve(ctx context.Context, client net.Conn) {
	// On loopback this takes no time, unless the server is stopped and its queue is full.
	server, err := p.dial(ctx)
	if err != nil {
		_ = client.Close()
		return
	}
	if !p.admit(client, server) {
		_ = client.Close()
		_ = server.Close()
		return
	}
	var pair sync.WaitGroup
	pair.Go(func() { p.pass(ToServer, client, server) })
	pair.Go(func() { p.pass(ToClient, server, client) })
	pair.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
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
