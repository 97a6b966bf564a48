package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/leader"
	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// keyHolder is a live replica, by what its candidate's labels say.
type keyHolder struct {
	id      string
	keys    []seal.ID // that it opens with
	primary seal.ID   // that it seals with; 0 if it has no keyset, or its program knows nothing of keys
}

// keysCluster is the cluster as broker keys sees it: through etcd alone.
type keysCluster struct {
	store *store.Store
	// keys are those of the keyset that it looks with.
	keys    []seal.Key
	replica []keyHolder
	values  []store.AtRest
}

// withKeysCluster connects to the cluster, looks at it, and does the work. keyset opens values; nil: the configuration's.
func withKeysCluster(ctx context.Context, f *keysFlags, keyset *seal.Keyset, work func(context.Context, *keysCluster) error) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	cfg, _, err := f.src.load(false)
	if err != nil {
		return err
	}
	if keyset == nil {
		keyset = cfg.Sealing.Keyset
	}
	endpoints := cfg.Etcd.Endpoints
	if e := cfg.Etcd.Embedded; e != nil {
		endpoints = []string{e.ListenClient}
	}
	quiet := newLogger(io.Discard, cfg.Log) // this is no replica: what its parts have to say is in the errors
	return connected(ctx, cfg.Etcd, endpoints, quiet, func(ctx context.Context, client *clientv3.Client) error {
		sealing, now := sealingConfig{Keyset: keyset}, clock.New()
		c := &keysCluster{keys: sealing.keys()}
		// What is not sealed is none of a key's business; it is told apart by KeyOf.
		c.store, err = store.New(store.Config{
			Client: client, View: view.New(view.Config{Clock: now}), Clock: now, Logger: quiet, Replica: "broker keys",
			Namespace: cfg.Etcd.Namespace, Sealer: sealing.sealer(true),
		})
		if err != nil {
			return err
		}
		observer := leader.NewObserver(client, leader.Config{Prefix: c.store.ElectionPrefix(), Clock: now})
		following, stop := context.WithCancel(ctx)
		var parts errgroup.Group
		parts.Go(func() error { return c.store.Run(following) })
		parts.Go(func() error { return observer.Run(following) })
		err := c.look(ctx, observer)
		if err != nil {
			err = fmt.Errorf("looking at the cluster in etcd at %s: %w; see that it runs, that -c names a replica's configuration and that this machine is let in, "+
				"or give it more time by --timeout", strings.Join(endpoints, ", "), err)
		} else {
			err = work(ctx, c)
		}
		stop()
		_ = parts.Wait() // they end without an error
		return err
	})
}

// look reads the candidates and all values.
func (c *keysCluster) look(ctx context.Context, observer *leader.Observer) error {
	for {
		changed := observer.Changed()
		if e := observer.Election(); e.Revision > 0 {
			c.replica = holders(e.Candidates)
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return c.survey(ctx)
}

func (c *keysCluster) survey(ctx context.Context) (err error) {
	c.values, err = c.store.Survey(ctx)
	return err
}

// holders reads labels. What cannot be read is no key, and who does not say its id is no replica, but somebody who takes part by hand.
func holders(candidates []leader.Candidate) []keyHolder {
	var all []keyHolder
	for _, candidate := range candidates {
		if candidate.ID == "" {
			continue
		}
		holder := keyHolder{id: candidate.ID, primary: parseKey(candidate.Labels[labelPrimary])}
		for text := range strings.SplitSeq(candidate.Labels[labelKeys], ",") {
			if id := parseKey(text); id != 0 {
				holder.keys = append(holder.keys, id)
			}
		}
		all = append(all, holder)
	}
	slices.SortStableFunc(all, func(a, b keyHolder) int { return strings.Compare(a.id, b.id) })
	return all
}

func parseKey(text string) seal.ID {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return seal.ID(id)
}
