package server

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

const (
	// maxRequestSize is ample for a name and a token; maxResponseSize is what clients accept by default.
	maxRequestSize  = 64 << 10
	maxResponseSize = 4 << 20
	// maxHeaderSize bounds the metadata of one call.
	maxHeaderSize = 16 << 10
	// maxStreams bounds the calls and streams that are open at once on one connection.
	maxStreams = 1024
	// workers serve calls with stacks that have grown already; what growing them costs is the difference between the two baselines in
	// docs/BENCHMARKS.md. Streams and waits occupy a worker as long as they last, and while all are occupied gRPC starts a goroutine
	// for each call.
	workers = 128
	// handshakeTime is how long a new connection may take until it speaks HTTP/2.
	handshakeTime = 10 * time.Second
	// idleTime is how long a connection may be open without a call on it. Clients open it again by themselves with their next call.
	idleTime = 10 * time.Minute
)

// Options are what every replica serves with. maxConnectionAge is Config.MaxConnectionAge.
func Options(maxConnectionAge time.Duration) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequestSize),
		grpc.MaxSendMsgSize(maxResponseSize),
		grpc.MaxHeaderListSize(maxHeaderSize),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.NumStreamWorkers(workers),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             10 * time.Second, // the least that grpc-go's clients can be set to
			PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// The grace is longer than any call waits; a WatchToken stream that is still open then is cut off, and its client opens
			// it again elsewhere.
			MaxConnectionAge:      maxConnectionAge,
			MaxConnectionAgeGrace: 5 * time.Minute,
			MaxConnectionIdle:     idleTime,
			// A peer that vanished without a word is noticed within a minute and a half.
			Time:    time.Minute,
			Timeout: 20 * time.Second,
		}),
	}
}

// Run serves on the listeners, which it closes, until ctx ends: one for callers elsewhere, and perhaps one for those in this process, who
// are treated alike. Then it reports NOT_SERVING, ends the waits and streams with
// UNAVAILABLE, lets the other calls finish within Config.DrainTimeout, and cuts off the rest. It returns nil then; before that, the
// error for which it could not serve. No goroutine of it outlives it. A Server runs once.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	options := Options(s.cfg.MaxConnectionAge)
	if s.cfg.Credentials != nil {
		options = append(options, grpc.Creds(s.cfg.Credentials))
	}
	g := grpc.NewServer(options...)
	s.Register(g)
	open := newPublic(g)
	grpc_health_v1.RegisterHealthServer(open, healthService{Server: s.health, ending: s.ending})
	if s.cfg.Reflection {
		reflection.Register(open)
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer s.questions.running.Wait()
	loading, stopLoading := context.WithCancel(ctx)
	defer stopLoading()
	running.Go(func() { s.announce(loading) })

	served := make(chan error, len(listeners))
	for _, l := range listeners {
		running.Go(func() { served <- fmt.Errorf("serving gRPC on %v: %w", l.Addr(), g.Serve(l)) })
	}
	select {
	case err := <-served:
		s.endWaits()
		g.Stop()
		return err
	case <-ctx.Done():
		s.drain(g)
		return nil
	}
}

// drain blocks until every call has ended. Streams and waits must be ended first: a graceful stop waits for them without limit. The
// listener is closed at once, so that new connections go elsewhere.
func (s *Server) drain(g *grpc.Server) {
	s.Retire()
	s.endWaits()
	cut := time.AfterFunc(s.cfg.DrainTimeout, g.Stop)
	defer cut.Stop()
	g.GracefulStop()
}

// endWaits ends all waits and streams, those to come included.
func (s *Server) endWaits() {
	s.drainOnce.Do(func() { close(s.draining) })
}

// ending derives a context that ends when waits and streams are to end, too. The caller must cancel it.
func (s *Server) ending(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.draining:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
