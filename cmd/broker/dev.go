package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// The demonstration's account at the simulated WeChat.
const (
	demoAppID  = "wx00000000000000de"
	demoSecret = "demo-secret-of-nobody"
)

// demo is what `broker dev` runs.
type demo struct {
	console
	replicas int
	life     time.Duration
	log      logConfig
	// The first of each kind of port; 0 is any free one. A default that is taken gives way to a free one.
	grpc, http, gateway, etcd, wechat int
	taken                             func(flag string) bool // whether the flag was given, so that its port may not give way
}

func devCommand(c console) *cobra.Command {
	d := &demo{console: c}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a demonstration: several replicas, etcd and a simulated WeChat in one process",
		Long: `Runs a cluster to try out, on loopback, with nothing to install: an embedded etcd, a simulated WeChat, and several replicas that
keep the tokens demo-stable and demo-classic alive. Not for production: everything is forgotten at the end.`,
		Example: "  broker dev --token-ttl 60s\n  broker dev --replicas 1",
		Args:    cobra.NoArgs,
	}
	f := cmd.Flags()
	f.IntVar(&d.replicas, "replicas", 3, "how many replicas, 1 to 9")
	f.DurationVar(&d.life, "token-ttl", 2*time.Hour, "how long a token lives, 20s to 2h in whole seconds; WeChat's live 2h")
	f.IntVar(&d.grpc, "grpc-port", 7700, "first replica's gRPC port; the others follow (0: any)")
	f.IntVar(&d.http, "http-port", 7780, "first replica's port of metrics and probes; the others follow (0: any)")
	f.IntVar(&d.gateway, "gateway-port", 7710, "first replica's port of the API over HTTP; the others follow (0: any)")
	f.IntVar(&d.etcd, "etcd-port", 2379, "etcd's port (0: any)")
	f.IntVar(&d.wechat, "wechat-port", 7790, "the simulated WeChat's port (0: any)")
	level := f.String("log-level", "info", "debug, info, warn or error")
	d.taken = func(flag string) bool { return f.Changed(flag) }
	cmd.PreRunE = func(*cobra.Command, []string) error {
		switch {
		case d.replicas < 1 || d.replicas > 9:
			return fmt.Errorf("%d replicas are not possible; write 1 to 9", d.replicas)
		case d.life < 20*time.Second || d.life > 2*time.Hour || d.life%time.Second != 0:
			return fmt.Errorf("a token life of %v is not possible; write 20s to 2h in whole seconds", d.life)
		}
		var err error
		d.log.Level, err = parseLevel(*level)
		return err
	}
	cmd.RunE = carryOut(func(ctx context.Context, _ []string) error { return d.run(ctx) })
	return cmd
}

// run blocks until ctx has ended and everything is taken down.
func (d *demo) run(ctx context.Context) error {
	began := time.Now()
	log := newLogger(d.err, d.log)
	dir, err := os.MkdirTemp("", "broker-dev-")
	if err != nil {
		return fmt.Errorf("making a folder for etcd: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	simulated, err := wechattest.New(wechattest.Config{
		Accounts:  []wechattest.Account{{AppID: demoAppID, Secret: demoSecret}},
		TokenLife: d.life, Overlap: d.overlap(), Control: true, Seed: uint64(began.UnixNano()),
	})
	if err != nil {
		return fmt.Errorf("simulating WeChat: %w", err)
	}
	site, err := d.listen("wechat-port", d.wechat, 0)
	if err != nil {
		return err
	}
	etcd, err := d.startEtcd(ctx, dir)
	if err != nil {
		site.Close()
		return err
	}

	s := &scene{demo: d, began: began, secret: newSecret(), etcd: etcd.Endpoint(), wechat: "http://" + site.Addr().String()}

	// etcd and WeChat outlive the replicas, which need both to hand over.
	below, finish := context.WithCancel(context.WithoutCancel(ctx))
	defer finish()
	var ground errgroup.Group
	ground.Go(func() error { return serveHTTP(below, site, simulated, log.Handler()) })
	ground.Go(func() error { return etcd.Run(below) })
	err = s.run(ctx, log)
	finish()
	return errors.Join(err, ground.Wait())
}

// overlap is WeChat's part of the life, but long enough for the protocol to work with ordinary delays.
func (d *demo) overlap() time.Duration { return max(d.life/24, min(15*time.Second, d.life/4)) }

func (d *demo) startEtcd(ctx context.Context, dir string) (*embedded.Server, error) {
	cfg := embedded.Config{
		Name: "dev", DataDir: dir, ListenPeer: "http://127.0.0.1:0", UnsafeNoFsync: true, Logger: newLogger(d.err, logConfig{Level: slog.LevelError}),
	}
	// etcd opens its port itself; trying it beforehand tells whether it is free.
	probe, err := d.listen("etcd-port", d.etcd, 0)
	if err != nil {
		return nil, err
	}
	cfg.ListenClient = "http://" + probe.Addr().String()
	probe.Close()
	return embedded.Start(ctx, cfg)
}

// listen opens the i-th port from first on, or any free one if that was only a default and is taken.
func (d *demo) listen(flag string, first, i int) (net.Listener, error) {
	if first != 0 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
		if err == nil {
			return l, nil
		}
		if d.taken(flag) {
			return nil, fmt.Errorf("listening for --%s: %w", flag, err)
		}
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// scene is a demonstration whose etcd and WeChat are there.
type scene struct {
	*demo
	began time.Time
	// secret is that of the one client of the WeChat-compatible paths; another in each demonstration.
	secret       string
	etcd, wechat string
	members      []ports
}

// run runs the replicas until ctx has ended, or one of them has failed.
func (s *scene) run(ctx context.Context, log *slog.Logger) error {
	configs := make([]*config, s.replicas)
	for i := range configs {
		var err error
		if configs[i], err = s.member(i); err != nil {
			for _, p := range s.members {
				p.close()
			}
			return err
		}
	}
	cluster, up := errgroup.WithContext(ctx)
	for i, cfg := range configs {
		cluster.Go(func() error {
			return serve(up, cfg, s.members[i], log, &reloader{started: cfg, log: log})
		})
	}
	cluster.Go(func() error {
		err := s.await(up)
		switch {
		case up.Err() != nil:
			return nil //nolint:nilerr // told to stop before all was ready
		case err == nil:
			s.announce(s.out, time.Since(s.began))
		}
		return err
	})
	return cluster.Wait()
}

// demoConfig is the configuration of one replica, as an operator would write it.
const demoConfig = `
replica: {id: dev-%d}
plaintext: true
insecure_plaintext_store: true
grpc: {reflection: true}
gateway: {listen: "127.0.0.1:0"}
policy:
  - {identities: [anonymous], tokens: ["*"], verbs: [get, watch, report, list, refresh, resign, status]}
clients:
  - {name: demo, secret_sha256: %[7]s, tokens: ["demo-*"]}
etcd: {endpoints: [%[2]q]}
tokens:
  - name: demo-stable
    wechat: {mode: stable, appid: %[3]s, secret: {env: DEMO_SECRET}, base_url: %[4]q, max_life: %[5]v, overlap: %[6]v}
  - name: demo-classic
    wechat: {mode: classic, appid: %[3]s, secret: {env: DEMO_SECRET}, base_url: %[4]q, max_life: %[5]v, overlap: %[6]v}
`

// member configures the i-th replica and opens its ports.
func (s *scene) member(i int) (*config, error) {
	cfg, _, err := loadConfig(sources{
		File: "demonstration",
		Data: fmt.Appendf(nil, demoConfig, i+1, s.etcd, demoAppID, s.wechat, s.life, s.overlap(), secretHash(s.secret)),
		Env: environment{
			Getenv: func(name string) (string, bool) {
				if name != "DEMO_SECRET" {
					return "", false
				}
				return demoSecret, true
			},
			Environ:  func() []string { return nil },
			Hostname: s.env.Hostname,
		},
	})
	if err != nil {
		return nil, err
	}
	var p ports
	if p.grpc, err = s.listen("grpc-port", s.grpc, i); err != nil {
		return nil, err
	}
	if p.http, err = s.listen("http-port", s.http, i); err != nil {
		p.close()
		return nil, err
	}
	if p.gateway, err = s.listen("gateway-port", s.gateway, i); err != nil {
		p.close()
		return nil, err
	}
	s.members = append(s.members, p)
	return cfg, nil
}
