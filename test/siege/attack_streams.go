package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/health/grpc_health_v1"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// streamAttacks are by somebody who is known, may watch, and has the broker hold what that takes.
func streamAttacks() []attack {
	return []attack{
		{
			name: "calls-begun", does: "nobody begins calls of the health service, which nobody is asked about, and never sends their message, on 64 connections, 1000 each",
			stops: "a bound of 1024 calls of one address, and 4096 of all, for services without a guard; others refuse a call by its headers",
			run:   callsBegun,
		},
		{
			name: "bodies-begun", does: "the same at the gateway, which speaks HTTP/2, too: requests whose body never comes, on 64 connections, 1000 each as far as they may",
			stops: "512 bodies of one address, and 2048 of all, are awaited at once, for 10 s at most",
			run:   bodiesBegun,
		},
		{
			name: "health-many", does: "nobody watches health, on 64 connections, 1000 streams each",
			stops: "the same bound",
			run:   watchHealth,
		},
		{
			name: "watch-many", does: "one identity opens watches and reads them, 2000 a second over 8 connections, as many as it gets",
			stops: "`limits.streams`",
			run:   watchMany,
		},
		{
			name: "watch-unread", does: "one identity opens watches with a flow-control window of 0 and reads nothing, on 64 connections, 1000 each",
			stops: "`limits.streams`; a stream holds no queue, but what it said last",
			run:   watchUnread,
		},
		{
			name: "sse-unread", does: "one identity opens streams of events over HTTP and reads nothing, on 1000 connections with the smallest receive buffer",
			stops: "the gateway's bound of 512 streams, and the time that a reader may take for an event",
			run:   eventsUnread,
		},
	}
}

// callsBegun sends the headers of calls, and nothing after them.
func callsBegun(ctx context.Context, t target, n *tally) error {
	return pile(ctx, t.nobody().from(0), n, func(f *wire) error {
		_, err := f.open(f.header(grpc_health_v1.Health_Check_FullMethodName))
		return err
	})
}

// bodiesBegun sends the heads of requests to the gateway, and nothing after them.
func bodiesBegun(ctx context.Context, t target, n *tally) error {
	gateway := t.nobody().from(0)
	gateway.GRPC = t.HTTP
	return pile(ctx, gateway, n, func(f *wire) error {
		_, err := f.open(f.header("/cgi-bin/stable_token", hpack.HeaderField{Name: "content-length", Value: "100"}))
		return err
	})
}

// watchHealth opens streams of health.
func watchHealth(ctx context.Context, t target, n *tally) error {
	return pile(ctx, t.nobody().from(0), n, func(f *wire) error {
		stream, err := f.open(f.header(grpc_health_v1.Health_Watch_FullMethodName))
		if err == nil {
			err = f.ask(stream, &grpc_health_v1.HealthCheckRequest{})
		}
		return err
	})
}

// watchUnread opens watches whose messages cannot be sent.
func watchUnread(ctx context.Context, t target, n *tally) error {
	return pile(ctx, t.way, n, func(f *wire) error {
		stream, err := f.open(f.header(tokenbrokerv1.TokenBrokerService_WatchToken_FullMethodName))
		if err == nil {
			err = f.ask(stream, &tokenbrokerv1.WatchTokenRequest{Name: t.Moving})
		}
		return err
	}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
}

// pile opens 1000 streams on each of 64 connections, and holds them without reading.
func pile(ctx context.Context, w way, n *tally, open func(*wire) error, settings ...http2.Setting) error {
	fleet(ctx, 64, 200*time.Millisecond, func(ctx context.Context, _ int) {
		f, err := w.frames(ctx, settings...)
		if err != nil {
			n.add(connecting(err))
			return
		}
		release := n.hold()
		done := make(chan struct{})
		go func() {
			defer close(done)
			err := f.WriteSettingsAck()
			for i := 0; i < 1000 && err == nil && pause(ctx, time.Millisecond); i++ {
				if err = open(f); err == nil {
					n.add(sent)
				}
			}
		}()
		byBroker := f.listen(ctx, func(frame http2.Frame) {
			if h, ok := frame.(*http2.HeadersFrame); ok && h.StreamEnded() {
				n.add("refused")
			}
		})
		_ = f.conn.Close()
		<-done
		release(byBroker)
		if byBroker {
			n.add(closed)
		}
	})
	return nil
}

// watchMany opens watches and reads what comes.
func watchMany(ctx context.Context, t target, n *tally) error {
	conns, closeAll, err := t.several(8)
	if err != nil {
		return err
	}
	defer closeAll()
	pace(ctx, 2000, 4000, func(ctx context.Context, worker int) {
		stream, err := tokenbrokerv1.NewTokenBrokerServiceClient(conns[worker%len(conns)]).WatchToken(ctx, &tokenbrokerv1.WatchTokenRequest{Name: t.Moving})
		release := n.hold()
		for first := true; err == nil; first = false {
			if _, err = stream.Recv(); err == nil && first {
				n.add(opened)
			}
		}
		release(ctx.Err() == nil)
		n.call(err)
	})
	return nil
}

// eventsUnread opens streams of events and leaves what comes with the operating system.
func eventsUnread(ctx context.Context, t target, n *tally) error {
	c, err := t.tls(http1)
	if err != nil {
		return err
	}
	fleet(ctx, 1000, 500*time.Millisecond, func(ctx context.Context, _ int) {
		conn, err := t.greeted(ctx, t.HTTP, c)
		if err != nil {
			n.add(connecting(err))
			return
		}
		defer func() { _ = conn.Close() }()
		if raw, ok := conn.NetConn().(*net.TCPConn); ok {
			_ = raw.SetReadBuffer(1)
		}
		_, err = fmt.Fprintf(conn, "GET /v1/tokens/%s:watch HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", t.Moving)
		status := make([]byte, len("HTTP/1.1 200"))
		if err == nil {
			_, err = io.ReadFull(conn, status)
		}
		switch {
		case err != nil:
			n.add(refused)
		case string(status[9:]) != "200":
			n.add("HTTP " + string(status[9:]))
		default:
			n.add(opened)
			release := n.hold()
			release(outlive(ctx, conn))
		}
	})
	return nil
}

// outlive holds a connection without reading until writing on it fails, which it does once the broker has closed it, and reports whether it
// did.
func outlive(ctx context.Context, conn net.Conn) bool {
	for pause(ctx, time.Second) {
		if _, err := conn.Write([]byte("\r\n")); err != nil && !errors.Is(err, net.ErrClosed) {
			return true
		}
	}
	return false
}
