package main

import (
	"context"
	"time"

	"golang.org/x/net/http2"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// frameAttacks misuse HTTP/2 itself. Whoever has no credentials can do this, where client certificates are not required.
func frameAttacks() []attack {
	return []attack{
		{
			name: "frames-reset", does: "rapid reset: calls begun and cancelled at once, 5000 a second on 8 connections",
			stops: "gRPC starts no more handlers than streams may be open, and reads no further meanwhile; the calls are counted by `limits.rate` or refused for want of credentials",
			run: func(ctx context.Context, t target, n *tally) error {
				return flood(ctx, t.nobody(), 5000, n, func(f *wire) error {
					stream, err := f.open(f.header(tokenbrokerv1.TokenBrokerService_GetToken_FullMethodName))
					if err == nil {
						err = f.ask(stream, &tokenbrokerv1.GetTokenRequest{Name: t.Still})
					}
					if err == nil {
						err = f.WriteRSTStream(stream, http2.ErrCodeCancel)
					}
					return err
				})
			},
		},
		{
			name: "frames-reset-http", does: "the same at the gateway, which speaks HTTP/2, too",
			stops: "net/http runs no more handlers than streams may be open, and ends a connection on which too many wait; `limits.rate` as above",
			run: func(ctx context.Context, t target, n *tally) error {
				gateway := t.nobody()
				gateway.GRPC = t.HTTP
				return flood(ctx, gateway, 5000, n, func(f *wire) error {
					stream, err := f.open(f.header("/v1/tokens/" + t.Still))
					if err == nil {
						err = f.WriteRSTStream(stream, http2.ErrCodeCancel)
					}
					return err
				})
			},
		},
		{
			name: "frames-ping", does: "PING, 5000 a second on 8 connections", stops: "keep-alive enforcement: the third within ten seconds ends the connection",
			run: func(ctx context.Context, t target, n *tally) error {
				return flood(ctx, t.nobody(), 5000, n, func(f *wire) error { return f.WritePing(false, [8]byte{1}) })
			},
		},
		{
			name: "frames-settings", does: "SETTINGS, each of which must be acknowledged, 5000 a second on 8 connections",
			stops: "gRPC reads no further while 50 acknowledgements wait to be sent",
			run: func(ctx context.Context, t target, n *tally) error {
				return flood(ctx, t.nobody(), 5000, n, func(f *wire) error {
					return f.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 14})
				})
			},
		},
	}
}

// flood writes frames at a rate on 8 connections, and opens another where the broker closes one.
func flood(ctx context.Context, w way, perSecond float64, n *tally, write func(*wire) error) error {
	const connections = 8
	fleet(ctx, connections, 20*time.Millisecond, func(ctx context.Context, _ int) {
		f, err := w.frames(ctx)
		if err != nil {
			n.add(connecting(err))
			return
		}
		release := n.hold()
		flooding, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			// The acknowledgement of the broker's own settings, without which it may not go on.
			if f.WriteSettingsAck() != nil {
				return
			}
			pace(flooding, perSecond/connections, 1, func(context.Context, int) {
				if write(f) == nil {
					n.add(sent)
				} else {
					stop()
				}
			})
		}()
		ended := f.listen(ctx, nil)
		stop()
		f.conn.Close()
		<-done
		release(ended)
		if ended {
			n.add(closed)
		}
	})
	return nil
}
