package main

import (
	"context"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// drippers are the connections of each attack by drips, and drip is the time from one byte to the next.
	drippers = 500
	drip     = 500 * time.Millisecond
)

// dripAttacks say everything, but a byte at a time.
func dripAttacks() []attack {
	const all = "500 connections, a byte each half a second: "
	return []attack{
		{
			name: "drip-handshake", does: all + "the ClientHello, on both ports", stops: "the time for a handshake",
			run: func(ctx context.Context, t target, n *tally) error {
				hello, err := clientHello(t.nobody())
				if err != nil {
					return err
				}
				return trickle(ctx, n, func(ctx context.Context, number int) (net.Conn, error) {
					return t.from(0).dial(ctx, [...]string{t.GRPC, t.HTTP}[number%2])
				}, hello)
			},
		},
		{
			name: "drip-preface", does: all + "the preface of HTTP/2, after the handshake", stops: "the time for a handshake, of which it is a part",
			run: func(ctx context.Context, t target, n *tally) error {
				return dripAfter(ctx, t, t.GRPC, h2, n, http2.ClientPreface)
			},
		},
		{
			name: "drip-continuation", does: all + "the headers of a call, in CONTINUATION frames", stops: "`limits.connections_per_address`; 80 s after the last whole frame the connection is given up",
			run: dripContinuation,
		},
		{
			name: "drip-message", does: all + "the message of a call, in DATA frames", stops: "`limits.calls`, and the maximum age of a connection",
			run: dripMessage,
		},
		{
			name: "drip-http-header", does: all + "the head of a request of HTTP/1.1", stops: "the time for a head",
			run: func(ctx context.Context, t target, n *tally) error {
				return dripAfter(ctx, t, t.HTTP, http1, n, "GET /v1/tokens/"+t.Still+" HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Padding: "+strings.Repeat("x", 8<<10))
			},
		},
		{
			name: "drip-http-body", does: all + "the body of a request of HTTP/1.1", stops: "the time for a body",
			run: func(ctx context.Context, t target, n *tally) error {
				return fleetOf(ctx, t, t.HTTP, http1, n, func(conn net.Conn) error {
					_, err := io.WriteString(conn, "POST /cgi-bin/stable_token HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8192\r\n\r\n")
					return err
				}, strings.Repeat(" ", 8192))
			},
		},
		{
			name: "drip-pages", does: all + "the head of a request to the port of metrics", stops: "the time for a head",
			run: func(ctx context.Context, t target, n *tally) error {
				return dripAfter(ctx, t, t.Pages, http1, n, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Padding: "+strings.Repeat("x", 8<<10))
			},
		},
	}
}

// dripAfter shakes hands and then says a text a byte at a time.
func dripAfter(ctx context.Context, t target, address, protocol string, n *tally, text string) error {
	return fleetOf(ctx, t, address, protocol, n, func(net.Conn) error { return nil }, text)
}

// fleetOf shakes hands, begins, and then says a text a byte at a time.
func fleetOf(ctx context.Context, t target, address, protocol string, n *tally, begin func(net.Conn) error, text string) error {
	w := t.from(0)
	c, err := w.tls(protocol)
	if err != nil {
		return err
	}
	return trickle(ctx, n, func(ctx context.Context, _ int) (net.Conn, error) {
		conn, err := w.greeted(ctx, address, c)
		if err != nil {
			return nil, err
		}
		return conn, begin(conn)
	}, []byte(text))
}

// trickle has a fleet of connections send a text a byte at a time.
func trickle(ctx context.Context, n *tally, open func(ctx context.Context, number int) (net.Conn, error), text []byte) error {
	fleet(ctx, drippers, 200*time.Millisecond, func(ctx context.Context, number int) {
		conn, err := open(ctx, number)
		if ctx.Err() == nil {
			n.add(connecting(err))
		}
		if err != nil {
			return
		}
		dropped(ctx, n, conn, func(ctx context.Context) {
			for i := 0; i < len(text) && pause(ctx, drip); i++ {
				if _, err := conn.Write(text[i : i+1]); err != nil {
					return
				}
			}
		})
	})
	return nil
}

// dropped holds a connection, and lets speak do what it likes with it, until the broker closes it or ctx ends.
func dropped(ctx context.Context, n *tally, conn net.Conn, speak func(ctx context.Context)) {
	release := n.hold()
	speaking, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		speak(speaking)
	}()
	ended := watchClose(ctx, conn)
	stop()
	conn.Close()
	<-done
	release(ended)
	if ended {
		n.add(closed)
	}
}

// dripContinuation begins a call and goes on with its headers for ever.
func dripContinuation(ctx context.Context, t target, n *tally) error {
	return dripFrames(ctx, t, n, func(ctx context.Context, f *wire) {
		block := f.header(tokenbrokerv1.TokenBrokerService_GetToken_FullMethodName, hpack.HeaderField{Name: "x-padding", Value: strings.Repeat("~", 8<<10)})
		err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:1]})
		for i := 1; i < len(block)-1 && err == nil && pause(ctx, drip); i++ {
			err = f.WriteContinuation(1, false, block[i:i+1])
		}
	})
}

// dripMessage begins a call and goes on with its message for ever.
func dripMessage(ctx context.Context, t target, n *tally) error {
	return dripFrames(ctx, t, n, func(ctx context.Context, f *wire) {
		stream, err := f.open(f.header(tokenbrokerv1.TokenBrokerService_GetToken_FullMethodName))
		message := envelope(make([]byte, 4096), 4096, false)
		for i := 0; i < len(message)-1 && err == nil && pause(ctx, drip); i++ {
			err = f.WriteData(stream, false, message[i:i+1])
		}
	})
}

// dripFrames has a fleet of connections write frames.
func dripFrames(ctx context.Context, t target, n *tally, speak func(ctx context.Context, f *wire)) error {
	w := t.from(0)
	fleet(ctx, drippers, 200*time.Millisecond, func(ctx context.Context, _ int) {
		f, err := w.frames(ctx)
		if ctx.Err() == nil {
			n.add(connecting(err))
		}
		if err != nil {
			return
		}
		dropped(ctx, n, f.conn, func(ctx context.Context) {
			_ = f.conn.SetWriteDeadline(time.Time{})
			if f.WriteSettingsAck() == nil {
				speak(ctx, f)
			}
		})
	})
	return nil
}
