package main

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// connectionAttacks need no more than that the port can be reached.
func connectionAttacks() []attack {
	return []attack{
		{
			name: "connect-silent", does: "one address opens TCP connections to both ports and says nothing, 1000 a second, and holds 4000",
			stops: "`limits.connections_per_address`, and the time for a handshake",
			run: func(ctx context.Context, t target, n *tally) error {
				return hoard(ctx, t.from(0), n, t.dial)
			},
		},
		{
			name: "connect-silent-many", does: "the same from 8 addresses at once, 500 connections of each: less than an address may have, and all together less than there is room for",
			stops: "the time for a handshake",
			run: func(ctx context.Context, t target, n *tally) error {
				return hoard(ctx, t.from(0), n, func(ctx context.Context, address string) (net.Conn, error) {
					return t.from(int(time.Now().UnixNano()/1000)%8).dial(ctx, address)
				})
			},
		},
		{
			name: "handshake-begun", does: "one address sends a ClientHello and leaves before the answer, 300 times a second on both ports",
			stops: "nothing is kept of it; it costs the broker a signature, which the operating system's priorities and a firewall must share out",
			run: func(ctx context.Context, t target, n *tally) error {
				hello, err := clientHello(t.nobody())
				if err != nil {
					return err
				}
				w := t.from(0)
				pace(ctx, 300, 64, func(ctx context.Context, worker int) {
					conn, err := w.dial(ctx, [...]string{t.GRPC, t.HTTP}[worker%2])
					if n.add(connecting(err)); err == nil {
						_, _ = conn.Write(hello)
						_ = conn.Close()
					}
				})
				return nil
			},
		},
		{
			name: "handshake-done", does: "nobody shakes hands and hangs up, 200 times a second on both ports",
			stops: "nothing is kept of it; as above",
			run: func(ctx context.Context, t target, n *tally) error {
				w := t.nobody().from(0)
				return shake(ctx, w, func(ctx context.Context, worker int, address string, c *tls.Config) {
					conn, err := w.greeted(ctx, address, c)
					if n.add(connecting(err)); err == nil {
						_ = conn.Close()
					}
				})
			},
		},
		{
			name: "handshake-idle", does: "nobody shakes hands and then says nothing, until 2000 connections are held",
			stops: "`limits.connections_per_address`, and the time for the first words of HTTP",
			run: func(ctx context.Context, t target, n *tally) error {
				w := t.nobody().from(0)
				grpc, err := w.tls(h2)
				if err != nil {
					return err
				}
				http, err := w.tls(http1)
				if err != nil {
					return err
				}
				return hoard(ctx, w, n, func(ctx context.Context, address string) (net.Conn, error) {
					if address == t.GRPC {
						return w.greeted(ctx, address, grpc)
					}
					return w.greeted(ctx, address, http)
				})
			},
		},
	}
}

// hoard opens connections to both ports by turns and holds them, 4000 at most.
func hoard(ctx context.Context, w way, n *tally, open func(ctx context.Context, address string) (net.Conn, error)) error {
	pace(ctx, 1000, 4000, func(ctx context.Context, worker int) {
		conn, err := open(ctx, [...]string{w.GRPC, w.HTTP}[worker%2])
		if ctx.Err() == nil {
			n.add(connecting(err))
		}
		if err != nil {
			return
		}
		release := n.hold()
		ended := watchClose(ctx, conn)
		conn.Close()
		release(ended)
		if ended {
			n.add(closed)
		}
	})
	return nil
}

// shake has 200 handshakes a second be made on both ports by turns.
func shake(ctx context.Context, w way, do func(ctx context.Context, worker int, address string, c *tls.Config)) error {
	grpc, err := w.tls(h2)
	if err != nil {
		return err
	}
	http, err := w.tls(http1)
	if err != nil {
		return err
	}
	pace(ctx, 200, 32, func(ctx context.Context, worker int) {
		if worker%2 == 0 {
			do(ctx, worker, w.GRPC, grpc)
		} else {
			do(ctx, worker, w.HTTP, http)
		}
	})
	return nil
}

// clientHello is the first flight of a handshake, which any server takes.
func clientHello(w way) ([]byte, error) {
	c, err := w.tls(h2)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		_ = tls.Client(near, c).Handshake() //nolint:noctx // closing the pipe ends it
		near.Close()
	}()
	flight := make([]byte, 16<<10)
	_ = far.SetReadDeadline(time.Now().Add(time.Minute))
	size, err := far.Read(flight)
	return flight[:size], err
}
