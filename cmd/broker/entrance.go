package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// entrance is what all connections come through: the certificates, and a door before each port.
type entrance struct {
	// certificates are nil where there is no TLS.
	certificates *transport.Certificates
	doors        []*transport.Door
}

// newEntrance puts doors before the ports, in their place. Its metrics go to registry.
func newEntrance(cfg *config, p *ports, registry *prometheus.Registry, log *slog.Logger) (*entrance, error) {
	e := &entrance{}
	var err error
	if e.certificates, err = cfg.TLS.open(log.With("component", "tls")); err != nil {
		return nil, fmt.Errorf("opening the TLS files: %w", err)
	}
	if e.certificates != nil {
		if err := registry.Register(e.certificates); err != nil {
			return nil, fmt.Errorf("registering the metrics of TLS: %w", err)
		}
	}
	for _, port := range []struct {
		name     string
		listener *net.Listener
	}{{"grpc", &p.grpc}, {"http", &p.http}, {"gateway", &p.gateway}} {
		if *port.listener == nil {
			continue
		}
		door := transport.NewDoor(*port.listener, port.name, cfg.Limits.atDoor())
		if err := registry.Register(door); err != nil {
			return nil, fmt.Errorf("registering the metrics of connections: %w", err)
		}
		e.doors = append(e.doors, door)
		*port.listener = door
	}
	return e, nil
}

// atDoor are the limits on connections.
func (c limitsConfig) atDoor() transport.Limits {
	return transport.Limits{Connections: c.Connections, PerAddress: c.ConnectionsPerAddress}
}

// run keeps up with the files, until ctx ends.
func (e *entrance) run(ctx context.Context) error {
	if e.certificates == nil {
		return nil
	}
	return e.certificates.Run(ctx)
}

// reread looks at the files now. If they are broken, the last good ones stay in use, and that has been logged.
func (e *entrance) reread() {
	if e.certificates != nil {
		_ = e.certificates.Reload()
	}
}

// reconfigure takes over what can change under a running replica.
func (e *entrance) reconfigure(cfg *config) {
	for _, door := range e.doors {
		door.Set(cfg.Limits.atDoor())
	}
}
