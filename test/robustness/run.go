package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/fault"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// order is what to run.
type order struct {
	plan
	// faults are the names of the faults to draw from; none for all.
	faults []string
	// operator: there is one.
	operator bool
	// hunt: the run ends, without recovery, as soon as a promise is broken that one of these checks judges, or any check if none is named.
	hunt   bool
	checks []string
	dir    string
	// told is told how far the run has come.
	told io.Writer
	programs
}

// How often a hunt is judged while it goes on, and how long the recovery after a storm may take before the run goes on to the judgement, which then
// finds the same.
const (
	judgePace    = 6 * time.Second
	recoveryTime = 3 * time.Minute
	healTime     = 2 * time.Minute
	// settleTime is how long what the brokers had sent may still be on its way to etcd and WeChat when they stand still.
	settleTime = time.Second
)

// run is one run under way.
type run struct {
	order
	recorder *history.Recorder
	site     *site.Site
	scene    *fault.Scene
	observer *traffic.Observer
	storms   []*fault.Storm
	trail    *trail // of a hunt
	// final is what the judge gets to hear.
	final judge.Case
}

// result is what came of a run.
type result struct {
	verdict judge.Verdict
	// crash is what went wrong with the processes by themselves.
	crash error
	// final is what the judge got to hear.
	final judge.Case
	took  time.Duration
}

func (r result) passed() bool { return r.crash == nil && r.verdict.Passed() }

// execute runs an order to its end. An error means that the run is void: nothing was judged.
func execute(ctx context.Context, o order) (result, error) {
	began := time.Now()
	r := &run{order: o, recorder: history.NewRecorder(), trail: newTrail(o.checks)}
	if err := r.prepare(ctx); err != nil {
		return result{}, err
	}
	fmt.Fprintf(o.told, "all of it runs; for %v it is broken, then it is judged\n", o.duration)
	err := r.play(ctx)
	crash := r.site.Close()
	// A crash ends a run early, which is no reason not to judge it. That somebody ended it is: what there was of it may be too little.
	if err != nil && (crash == nil || ctx.Err() != nil) {
		r.final.Events = r.recorder.Events()
		return result{final: r.final}, errors.Join(err, crash)
	}
	return result{verdict: judge.Judge(r.final), crash: crash, final: r.final, took: time.Since(began)}, nil
}

// prepare starts the site, and whom the run needs.
func (r *run) prepare(ctx context.Context) error {
	keyset, err := seal.New()
	if err != nil {
		return err
	}
	keys := filepath.Join(r.dir, "keyset.json")
	if err := writeKeyset(keys, keyset); err != nil {
		return err
	}
	if r.site, err = site.Start(ctx, site.Config{
		Dir: r.dir, Broker: r.broker, Etcd: r.etcd, History: r.recorder, Seed: r.seed, SessionTTL: sessionTTL, TokenLife: tokenLife,
		Overlap: overlap, Quotas: quotas(), Tokens: tokens(), Extra: furtherSettings, Namespaces: r.namespaces,
		Keyset: keys,
	}); err != nil {
		return err
	}
	members := make([]*clientv3.Client, len(r.site.Members))
	for i, m := range r.site.Members {
		members[i] = m.Client()
	}
	names := make([]string, 0, len(tokens()))
	for _, t := range tokens() {
		names = append(names, t.Name)
	}
	r.observer = traffic.NewObserver(traffic.ObserverConfig{
		Recorder: r.recorder, Members: members, Namespace: site.Namespace, Keyset: keyset, Tokens: names, Rand: traffic.Choices(r.seed, "observer"),
	})
	r.site.Observed = r.observer.Seen
	r.scene = &fault.Scene{Site: r.site, Recorder: r.recorder, Tokens: tokens(), Times: times()}
	return r.gather()
}

// writeKeyset writes the keys that the brokers seal values with into their file.
func writeKeyset(file string, keyset *seal.Keyset) error {
	data, err := keyset.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// gather makes the storms.
func (r *run) gather() error {
	all := fault.Catalogue(times(), r.duration, r.failpoints, r.namespaces)
	chosen, err := fault.Select(all, r.faults)
	if err != nil {
		return errors.Join(err, r.site.Close())
	}
	r.storms = fault.Front(fault.StormConfig{
		Scene: r.scene, Seed: r.seed, Faults: chosen, LongestCalm: r.calm,
	})
	return nil
}

// play is everything between the start and the end of the processes.
func (r *run) play(ctx context.Context) error {
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	calling, stopCalling := context.WithCancel(ctx)
	defer stopCalling()
	everybody, ctx := errgroup.WithContext(ctx)
	everybody.Go(func() error { return r.observer.Run(watching) })
	everybody.Go(func() error {
		defer stopWatching()
		defer stopCalling()
		if err := r.observer.CatchUp(ctx); err != nil {
			return err
		}
		var callers errgroup.Group
		callers.Go(func() error { return traffic.New(r.cast()).Run(calling) })
		err := r.rage(ctx)
		if err == nil && !r.hunt {
			err = r.recover(ctx)
		}
		stopCalling()
		if err := errors.Join(err, callers.Wait()); err != nil {
			return err
		}
		return r.conclude(ctx)
	})
	return everybody.Wait()
}

// conclude takes down what the judge gets to hear, with the brokers standing still: what is under way would be half in it.
func (r *run) conclude(ctx context.Context) error {
	for _, b := range r.site.Brokers {
		if err := b.Pause(); err != nil && b.Running() {
			return err
		}
	}
	traffic.Pause(ctx, settleTime)
	err := r.observer.CatchUp(ctx)
	r.final = r.testify(!r.hunt)
	return err
}

// cast says who uses the brokers.
func (r *run) cast() traffic.Config {
	cfg := traffic.Config{Recorder: r.recorder, Seed: r.seed, Callers: callersEach, Pace: callPace}
	if r.operator {
		cfg.Errands = errandPace
	}
	for _, b := range r.site.Brokers {
		cfg.Replicas = append(cfg.Replicas, traffic.Replica{ID: b.ID, Conn: b.Conn()})
	}
	for _, t := range tokens() {
		cfg.Tokens = append(cfg.Tokens, traffic.Token{
			Name: t.Name, Promise: promise(t), Check: r.site.WeChat.Check, Forcible: t.Endpoint == "stable_token",
		})
	}
	return cfg
}

// rage lets the storms rage for as long as was ordered, or until a hunt is over or a process has crashed.
func (r *run) rage(ctx context.Context) error {
	storming, cancel := context.WithTimeout(ctx, r.duration)
	defer cancel()
	if !traffic.Pause(storming, warmUp) {
		return ctx.Err()
	}
	all, storming := errgroup.WithContext(storming)
	for _, s := range r.storms {
		all.Go(func() error { return s.Run(storming) })
	}
	all.Go(func() error {
		for traffic.Pause(storming, judgePace) {
			if r.hunt {
				r.trail.follow(r.recorder.Now(), judge.Judge(r.testify(false)))
			}
			if r.site.Err() != nil || r.trail.hot {
				cancel()
			}
		}
		return nil
	})
	return errors.Join(all.Wait(), ctx.Err())
}

// recover heals everything, waits until all replicas hand out all tokens again, and lets everybody go on for a while.
func (r *run) recover(ctx context.Context) error {
	hctx, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	if err := r.site.Heal(hctx); err != nil {
		return err
	}
	r.scene.Settle(hctx, traffic.Choices(r.seed, "settle"))
	now := r.recorder.Now()
	r.recorder.Add(history.Event{Kind: history.Healed, Sent: now, Received: now})
	rctx, cancel := context.WithTimeout(ctx, recoveryTime)
	defer cancel()
	for !r.healthy(rctx) && traffic.Pause(rctx, 200*time.Millisecond) {
	}
	traffic.Pause(ctx, afterwards)
	return ctx.Err()
}

// healthy reports whether every replica promises every token.
func (r *run) healthy(ctx context.Context) bool {
	for _, b := range r.site.Brokers {
		for _, t := range tokens() {
			resp, err := tokenbrokerv1.NewTokenBrokerServiceClient(b.Conn()).GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: t.Name})
			if err != nil || resp.GetToken().GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
				return false
			}
		}
	}
	return true
}
