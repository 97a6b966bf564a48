package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// entrance is what all connections and calls come through: the certificates, a door before each port, and the gate before the calls.
type entrance struct {
	// certificates are nil where there is no TLS.
	certificates *transport.Certificates
	doors        []*transport.Door
	gate         *gate
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
	if e.gate, err = newGate(cfg, registry, log); err != nil {
		return nil, err
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

// run keeps up with the files and issuers, and writes the audit log, until ctx ends.
func (e *entrance) run(ctx context.Context) error {
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return e.gate.run(ctx) })
	if e.certificates != nil {
		parts.Go(func() error { return e.certificates.Run(ctx) })
	}
	return parts.Wait()
}

// reread looks at the files now. If they are broken, the last good ones stay in use, and that has been logged. The audit log is opened anew.
func (e *entrance) reread() {
	e.gate.reopen()
	if e.certificates != nil {
		_ = e.certificates.Reload()
	}
}

// reconfigure takes over what can change under a running replica. After an error all is as before.
func (e *entrance) reconfigure(cfg *config) error {
	if err := e.gate.reconfigure(cfg); err != nil {
		return err
	}
	for _, door := range e.doors {
		door.Set(cfg.Limits.atDoor())
	}
	return nil
}
