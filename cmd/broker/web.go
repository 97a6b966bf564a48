package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// web serves /metrics, to who may see the status of all tokens, and /livez and /readyz, to everybody. Liveness hangs on nothing but the
// process: restarting does not mend etcd.
type web struct {
	registry *prometheus.Registry
	// certificates are nil where there is no TLS.
	certificates *transport.Certificates
	gate         *gate
	log          *slog.Logger
	// ready reports whether gRPC calls are served.
	ready func() bool
}

// handler answers everything from memory. Readiness is that of gRPC's health, so that both kinds of probe agree.
func (w web) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", w.gate.metrics(w.certificates, promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{})))
	mux.HandleFunc("GET /livez", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "ok") })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if !w.ready() {
			http.Error(rw, "not ready: the replica has nothing to serve from yet, or is shutting down", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "ok")
	})
	return mux
}

// run serves on the listener, which it closes, until ctx ends.
func (w web) run(ctx context.Context, listener net.Listener) error {
	return serveHTTP(ctx, w.certificates.ForPages(listener), w.handler(), w.certificates.Handler(w.log.Handler()))
}

// serveHTTP serves until ctx ends, gives requests under way a second, and returns nil then. What goes wrong with a connection is told to trouble.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler, trouble slog.Handler) error {
	s := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(trouble, slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving HTTP on %v: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.Shutdown(grace); err != nil {
		err = s.Close()
		if err != nil {
			return fmt.Errorf("closing HTTP connections: %w", err)
		}
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP on %v: %w", listener.Addr(), err)
	}
	return nil
}
