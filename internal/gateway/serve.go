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
// requests finish for drainTime at most, and cuts off what is left. On a loopback address the Host of a request must be one, or localhost. It returns nil then; before that, the error for which it could not
// serve. A Gateway runs once.
func (g *Gateway) Run(ctx context.Context, listener net.Listener) error {
	loopback := onLoopback(listener)
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, loopback) }), ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		// No other limits: each request sets its own, since a stream has none.
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
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
