package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// serveCommand takes SIGHUP from the moment on at which it starts: before it is ready, one must not end the process.
func serveCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a broker",
		Long: `Runs one replica until it gets SIGTERM or SIGINT; it then hands over, lets calls end, and exits. A second signal ends it at once.

Every setting comes from its flag, else from its environment variable (` + envPrefix + `GRPC_LISTEN for grpc.listen), else from the file.
SIGHUP reads the configuration anew and applies its tokens, secrets included, its clients, authentication, policy and limits; the audit log
is opened anew. If the configuration is wrong, all stays as it is.

Exit codes:
  0  shut down as told
  1  failed; standard error says why
  64 the command line is wrong`,
		Args: cobra.NoArgs,
	}
	src := newConfigSource(c, cmd)
	cmd.Flags().StringVarP(&src.file, "config", "c", "", "the configuration file (env "+configVariable+", default "+defaultConfig+")")
	cmd.RunE = carryOut(func(ctx context.Context, _ []string) error {
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
		cfg, warnings, err := src.load(false)
		if err != nil {
			return err
		}
		log := newLogger(c.err, cfg.Log)
		logWarnings(log, warnings)
		cfg.Sealing.warn(log, cfg.PlaintextStore)
		p, err := listen(cfg)
		if err != nil {
			return err
		}
		return serve(ctx, cfg, p, log, &reloader{load: src.load, started: cfg, log: log, hangups: hangups})
	})
	return cmd
}

// ports are the addresses that a replica serves on.
type ports struct {
	grpc, http net.Listener
	gateway    net.Listener // nil where there is no gateway
}

func (p ports) close() {
	for _, l := range []net.Listener{p.grpc, p.http, p.gateway} {
		if l != nil {
			l.Close()
		}
	}
}

// where is the address of a listener for people; there may be none.
func where(l net.Listener) string {
	if l == nil {
		return "off"
	}
	return l.Addr().String()
}

// listen opens all ports before anything else is done, so that a port that is taken is reported at once.
func listen(cfg *config) (ports, error) {
	var p ports
	var err error
	if p.grpc, err = net.Listen("tcp", cfg.GRPC.Listen); err != nil {
		return p, fmt.Errorf("listening for gRPC: %w", err)
	}
	if p.http, err = net.Listen("tcp", cfg.HTTP.Listen); err != nil {
		p.close()
		return p, fmt.Errorf("listening for metrics and probes: %w", err)
	}
	if cfg.Gateway.Listen == "" {
		return p, nil
	}
	if p.gateway, err = net.Listen("tcp", cfg.Gateway.Listen); err != nil {
		p.close()
		return p, fmt.Errorf("listening for the gateway: %w", err)
	}
	return p, nil
}

// serve runs everything that one configuration asks for, until ctx has ended and all is shut down. It closes the ports.
func serve(ctx context.Context, cfg *config, p ports, log *slog.Logger, reload *reloader) error {
	defer p.close()
	address := advertised(cfg, p.grpc.Addr())
	log = log.With("replica", cfg.Replica.ID)
	log.Info("starting", "version", thisBuild().Version, "grpc", where(p.grpc), "gateway", where(p.gateway), "metrics", where(p.http),
		"advertise", address, "tokens", len(cfg.Tokens))

	registry := newRegistry()
	e, err := newEntrance(cfg, &p, registry, log)
	if err != nil {
		return err
	}
	// The HTTP server begins first and ends last: the process is alive while it waits for etcd.
	group, whole := errgroup.WithContext(context.WithoutCancel(ctx))
	whole, finished := context.WithCancel(whole)
	var running atomic.Pointer[replica]
	pages := web{
		registry: registry, certificates: e.certificates, gate: e.gate, log: log.With("component", "http"),
		ready: func() bool { r := running.Load(); return r != nil && r.server.Ready() },
	}
	group.Go(func() error { return e.run(whole) })
	group.Go(func() error { return pages.run(whole, p.http) })
	group.Go(func() error {
		defer finished()
		ctx, cancel := either(ctx, whole)
		defer cancel()
		err := withEtcd(ctx, cfg.Etcd, log, func(ctx context.Context, client *clientv3.Client) error {
			r, err := newReplica(cfg, client, address, e, registry, log)
			if err != nil {
				return err
			}
			running.Store(r)
			return r.runReloading(ctx, p, reload)
		})
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // told to stop while it was still starting
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	log.Info("shut down")
	return nil
}

// either derives a context from ctx that ends with other, too.
func either(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() { stop(); cancel() }
}

// newRegistry returns a registry of its own, with what Go and the system tell of the process.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// advertised is the address that others are told: as configured, or else where the replica listens, by the host's name if it listens
// everywhere.
func advertised(cfg *config, listening net.Addr) string {
	if cfg.Replica.Advertise != "" {
		return cfg.Replica.Advertise
	}
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return listening.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = cfg.Replica.ID
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return net.JoinHostPort(host, port)
}
