package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/leader"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/snapshot"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/transport"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// How a replica shuts down.
const (
	// settleTime is how long a fetch in flight is waited for, and its outcome written: an attempt takes 15 s at most.
	settleTime = 20 * time.Second
	// lingerTime is how long calls are still taken after NOT_SERVING, for clients that have not heard it yet.
	lingerTime = 200 * time.Millisecond
	// drainTime is how long calls under way may take to end.
	drainTime = 5 * time.Second
)

// firstLook is how long a replica waits at its start for what etcd says, before it serves: whether its keys open what is there and, with a
// snapshot, what was ordered while it was away, so that this is known before anything is promised.
const firstLook = 750 * time.Millisecond

// replica is one broker: all that one configuration makes run, but for the HTTP server and an embedded etcd, which outlive it.
type replica struct {
	log      *slog.Logger
	entrance *entrance
	store    *store.Store
	elector  *leader.Elector
	observer *leader.Observer
	catalog  *catalog
	server   *server.Server
	clock    *clock.Clock
	// front is the gateway; nil if none is wanted.
	front *front
	// keeper keeps the snapshot; nil if none is wanted.
	keeper *snapshot.Keeper
}

// newReplica puts the parts together; nothing runs yet. address is what others reach the replica at. Its metrics go to registry.
func newReplica(cfg *config, client *clientv3.Client, address string, e *entrance, registry *prometheus.Registry, log *slog.Logger) (*replica, error) {
	c := clock.New()
	v := view.New(view.Config{Clock: c})
	r := &replica{log: log, clock: c, entrance: e}
	var err error
	if r.store, err = store.New(store.Config{
		Client: client, View: v, Clock: c, Logger: log.With("component", "store"), Replica: cfg.Replica.ID, Namespace: cfg.Etcd.Namespace,
		Sealer: cfg.Sealing.sealer(cfg.PlaintextStore),
	}); err != nil {
		return nil, err
	}
	if err := registry.Register(r.store); err != nil {
		return nil, fmt.Errorf("registering the store's metrics: %w", err)
	}
	election := leader.Config{
		Prefix: r.store.ElectionPrefix(), ID: cfg.Replica.ID, Address: address, TTL: cfg.Election.SessionTTL,
		Labels: cfg.Sealing.labels(), Clock: c, Logger: log.With("component", "leader"),
	}
	if r.elector, err = leader.New(client, election); err != nil {
		return nil, err
	}
	r.observer = leader.NewObserver(client, election)
	seen := cluster{r.observer, r.elector}

	metrics, err := refresh.NewMetrics(registry)
	if err != nil {
		return nil, err
	}
	r.catalog = newCatalog(v, c, refresh.Config{
		Clock: c, Logger: log.With("component", "refresh"), Replica: cfg.Replica.ID, Metrics: metrics, Rest: &refresh.Rest{},
		Peers: func() int { return seen.peers(cfg.Replica.ID) },
	})
	if _, err := r.catalog.configure(cfg.Tokens); err != nil {
		return nil, err
	}
	r.server = server.New(server.Config{
		ReplicaID: cfg.Replica.ID, Address: address, Version: thisBuild().Version, Started: c.Wall(), Wall: c.Wall,
		Logger: log.With("component", "server"), Reflection: cfg.GRPC.Reflection, DrainTimeout: drainTime, MaxConnectionAge: cfg.GRPC.MaxConnectionAge,
		Credentials: transport.ServerCredentials(e.certificates), Guard: e.gate.guarding(),
	}, v, r.store, seen, r.catalog)
	if err := registry.Register(r.server); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	if cfg.Snapshot.File != "" {
		if r.keeper, err = snapshot.New(snapshot.Config{
			File: cfg.Snapshot.File, Namespace: cfg.Etcd.Namespace, Replica: cfg.Replica.ID,
			View: v, Codec: r.store, Course: r.store, Clock: c, Logger: log.With("component", "snapshot"),
		}); err != nil {
			return nil, err
		}
		if err := registry.Register(r.keeper); err != nil {
			return nil, fmt.Errorf("registering the snapshot's metrics: %w", err)
		}
	}
	if cfg.Gateway.Listen != "" {
		if r.front, err = newFront(cfg, e, registry, log); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// reconfigure replaces who may have what, the set of tokens and the clients, and says what changed of the tokens. Not to be called twice at once.
func (r *replica) reconfigure(cfg *config) (changes, error) {
	if err := r.entrance.reconfigure(cfg); err != nil {
		return changes{}, err
	}
	diff, err := r.catalog.configure(cfg.Tokens)
	if err != nil {
		return diff, err
	}
	if !diff.none() {
		r.store.Reload()
	}
	if r.front != nil {
		r.front.clients.Set(cfg.Clients)
	}
	return diff, nil
}

// run blocks until ctx has ended and everything is shut down, or a part has failed, which shuts down the others.
//
// The order is: NOT_SERVING; no new fetch, and the one in flight is settled; the lead is given up; calls under way end; the feed
// ends. Whoever called run may then close what the replica stood on.
func (r *replica) run(ctx context.Context, p ports) error {
	beyond := context.WithoutCancel(ctx)
	leading, stopLeading := context.WithCancel(beyond)
	serving, stopServing := context.WithCancel(beyond)
	feeding, stopFeeding := context.WithCancel(beyond)
	settle, stopSettling := context.WithCancel(beyond)
	defer stopSettling()

	supervisor := &supervisor{store: r.store, log: r.log.With("component", "leader"), catalog: r.catalog.refreshers, resign: r.elector.Resign, settle: settle}
	led, served := make(chan struct{}), make(chan struct{})
	parts, failed := errgroup.WithContext(beyond)
	if r.keeper != nil {
		r.keeper.Restore() // before anything is loaded or served
		parts.Go(func() error { return r.keeper.Run(feeding) })
	}
	parts.Go(func() error { return r.store.Run(feeding) })
	parts.Go(func() error { return r.observer.Run(feeding) })
	parts.Go(func() error { return r.clock.Run(feeding) })
	parts.Go(func() error { return loners{r.catalog, r.catalog.view}.run(feeding) })
	opened := make(chan struct{})
	parts.Go(func() error {
		defer close(led)
		if err := r.openValues(leading); err != nil {
			return err
		}
		close(opened)
		return r.elector.Run(leading, supervisor.lead)
	})
	parts.Go(func() error {
		defer close(served)
		if !r.hearStore(serving, failed, opened) {
			return nil
		}
		if r.front == nil {
			return r.server.Run(serving, p.grpc)
		}
		return r.server.Run(serving, p.grpc, r.front.inner)
	})
	if r.front != nil {
		parts.Go(func() error { return r.front.run(serving, p.gateway) })
	}

	select {
	case <-ctx.Done():
	case <-failed.Done():
	}
	r.log.Info("shutting down")
	r.server.Retire()
	retired := time.NewTimer(lingerTime)
	defer retired.Stop()
	defer time.AfterFunc(settleTime, stopSettling).Stop()
	stopLeading()
	<-led
	<-retired.C
	stopServing()
	<-served
	stopFeeding()
	return parts.Wait()
}

// hearStore waits until the keys are known to open what is in the store and, with a snapshot, the view has been loaded from there; firstLook
// at most. Calls wait at the listener meanwhile. It returns false if the replica is not to serve at all.
func (r *replica) hearStore(ctx, failed context.Context, opened <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	select {
	case <-opened:
	case <-failed.Done():
	case <-ctx.Done():
	}
	for r.keeper != nil && failed.Err() == nil && ctx.Err() == nil {
		_, moved := r.catalog.view.Applied(0)
		if r.catalog.view.Revision() > 0 {
			break
		}
		select {
		case <-moved:
		case <-failed.Done():
		case <-ctx.Done():
		}
	}
	return failed.Err() == nil
}

// runReloading is run, with reloads meanwhile.
func (r *replica) runReloading(ctx context.Context, p ports, l *reloader) error {
	reloading, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(reloading, r)
	}()
	err := r.run(ctx, p)
	stop()
	<-ended
	return err
}
