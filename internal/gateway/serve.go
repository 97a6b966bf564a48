package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	headerTime = 5 * time.Second
	idleTime   = 2 * time.Minute
	maxHeader  = 16 << 10
	// drainTime is how long requests under way may take to end when the gateway is told to stop.
	drainTime = 5 * time.Second
)

// Run serves on the listener, which it closes, until ctx ends. Then it takes no new requests, ends the streams of events, lets other
// requests finish for drainTime at most, and cuts off what is left. It returns nil then; before that, the error for which it could not
// serve. A Gateway runs once.
//
// Without TLS, and on a loopback address, the Host of a request must be one, or localhost. With TLS any will do: see host.go.
func (g *Gateway) Run(ctx context.Context, listener net.Listener) error {
	loopback := g.certificates == nil && onLoopback(listener)
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, loopback) }),
		// ReadHeaderTimeout bounds the TLS handshake, too.
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, bornKey{}, time.Now())
		},
		// No other limits: each request sets its own, since a stream has none.
		ErrorLog: slog.NewLogLogger(g.certificates.Handler(g.log.Handler()), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(g.certificates.ForGateway(listener)) }()
	select {
	case err := <-served:
		g.drainOnce.Do(func() { close(g.draining) })
		_ = s.Close()
		return fmt.Errorf("serving HTTP on %v: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	g.drainOnce.Do(func() { close(g.draining) })
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if s.Shutdown(grace) != nil {
		_ = s.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP on %v: %w", listener.Addr(), err)
	}
	return nil
}

type bornKey struct{}

// aged reports whether the connection of a request has lasted long enough, so that its caller should make a new one: it then sees the present
// certificate, and finds replicas that were added. Streams of events on it go on until the call behind them ends.
func (g *Gateway) aged(r *http.Request) bool {
	born, ok := r.Context().Value(bornKey{}).(time.Time)
	return ok && g.maxAge > 0 && time.Since(born) > g.maxAge
}
