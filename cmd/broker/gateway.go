package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
)

// front is the API over HTTP. It calls the replica's own gRPC server through a connection in memory, so that nothing that holds for
// callers from elsewhere can be passed by.
type front struct {
	gateway *gateway.Gateway
	clients *gateway.Clients
	// inner is where the gRPC server takes the gateway's calls.
	inner *bufconn.Listener
	conn  *grpc.ClientConn
}

// newFront returns a front that nothing runs of yet. Its metrics go to registry. Whoever does not run it must close conn.
func newFront(cfg *config, e *entrance, registry *prometheus.Registry, log *slog.Logger) (*front, error) {
	f := &front{clients: gateway.NewClients(cfg.Clients), inner: bufconn.Listen(256 << 10)}
	var err error
	if f.conn, err = grpc.NewClient("passthrough:///replica", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.inner.DialContext(ctx) })); err != nil {
		return nil, fmt.Errorf("connecting the gateway: %w", err)
	}
	f.gateway, err = gateway.New(gateway.Config{
		Conn: f.conn, Admission: f.clients, AnyMode: cfg.Gateway.AnyMode, Logger: log.With("component", "gateway"),
		Certificates: e.certificates, MaxConnectionAge: cfg.GRPC.MaxConnectionAge,
	})
	if err == nil {
		if err = registry.Register(f.gateway); err != nil {
			err = fmt.Errorf("registering the gateway's metrics: %w", err)
		}
	}
	if err != nil {
		_ = f.conn.Close()
		return nil, err
	}
	return f, nil
}

// run serves until ctx ends. Requests wait for the gRPC server to begin.
func (f *front) run(ctx context.Context, listener net.Listener) error {
	defer func() { _ = f.conn.Close() }()
	return f.gateway.Run(ctx, listener)
}
