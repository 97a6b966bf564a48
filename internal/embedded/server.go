package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// ErrInUse is the cause of Start's error when another process holds the data folder.
var ErrInUse = errors.New("the data folder is in use by another process")

// Server is a running member. Its methods are safe for concurrent use.
type Server struct {
	etcd    *embed.Etcd
	streams context.CancelFunc // ends all clients' streams
	closing *atomic.Bool
	close   func() // once
}

// Start is Begin, and returns when the member serves clients. It fails, and leaves nothing behind but what Begin does, as soon as it is
// known that it will not, or when ctx ends.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := Begin(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("waiting for embedded etcd: %w", err)
	}
	return s, nil
}

// Begin starts the member and returns when it listens. Clients may connect from then on; they are answered when it is Ready. It fails
// with the cause as soon as that is known, or when ctx ends. Nothing is left behind by a failure, except in two cases that etcd
// cannot be stopped in: a panic over a damaged data folder leaves sockets open until the process ends, and after the end of ctx a
// background goroutine waits for etcd's start to come to an end, to undo it.
func Begin(ctx context.Context, cfg Config) (*Server, error) {
	to, err := cfg.etcd()
	if err != nil {
		return nil, fmt.Errorf("configuring embedded etcd: %w", err)
	}
	if err := probe(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("opening embedded etcd's data folder %s: %w", cfg.DataDir, err)
	}

	s := &Server{closing: new(atomic.Bool)}
	var streams context.Context
	streams, s.streams = context.WithCancel(context.WithoutCancel(ctx))
	to.GRPCAdditionalServerOptions = []grpc.ServerOption{grpc.ChainStreamInterceptor(endWith(streams))}
	log := core{handler: slog.DiscardHandler, hushed: s.closing}
	if cfg.Logger != nil {
		log.handler = cfg.Logger.Handler()
	}
	to.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(log))

	started := make(chan error, 1)
	go func() {
		var err error
		s.etcd, err = startEtcd(to)
		started <- err
	}()
	s.close = sync.OnceFunc(s.stop)

	select {
	case err := <-started:
		if err != nil {
			s.streams()
			return nil, fmt.Errorf("starting embedded etcd: %w", err)
		}
		return s, nil
	case <-ctx.Done():
		go func() {
			if <-started == nil {
				s.close()
			}
		}()
		return nil, fmt.Errorf("starting embedded etcd: %w", context.Cause(ctx))
	}
}

// await waits until the member serves clients.
func (s *Server) await(ctx context.Context) error {
	select {
	case <-s.Ready():
		return nil
	case err := <-s.etcd.Err():
		return err
	case <-s.etcd.Server.StopNotify():
		return errStopped
	case <-ctx.Done():
		err := context.Cause(ctx)
		if n := len(s.etcd.Server.Cluster().Members()); n > 1 {
			err = fmt.Errorf("no majority of the %d members answered: %w", n, err)
		}
		return err
	}
}

var errStopped = errors.New("embedded etcd stopped by itself")

// Endpoint returns the URL that the member really serves clients on.
func (s *Server) Endpoint() string {
	return s.etcd.Config().ListenClientUrls[0].Scheme + "://" + s.etcd.Clients[0].Addr().String()
}

// Ready returns a channel that is closed when the member serves clients, which in a cluster of several takes a majority of the members.
func (s *Server) Ready() <-chan struct{} { return s.etcd.Server.ReadyNotify() }

// Run waits until ctx ends or somebody calls Close, closes the member and returns nil. If the member fails before, be it before it
// served, Run closes it and says why.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	var err error
	select {
	case <-ctx.Done():
		return nil
	case err = <-s.etcd.Err():
	case <-s.etcd.Server.StopNotify():
		err = errStopped
	}
	if s.closing.Load() {
		return nil
	}
	return fmt.Errorf("serving embedded etcd: %w", err)
}

// Close stops the member and returns when all its goroutines are gone; only connections that other members keep open may outlive it,
// by 5 s at most. It may be called several times; all calls wait.
func (s *Server) Close() { s.close() }

func (s *Server) stop() {
	s.closing.Store(true)
	s.streams()
	select {
	case <-s.etcd.Server.ReadyNotify():
	default:
		s.etcd.Server.HardStop() // until then etcd's Close would wait for the member to become ready
	}
	s.etcd.Close()
}

// startEtcd turns a panic, which is how etcd meets some damaged data folders, into an error.
func startEtcd(cfg *embed.Config) (etcd *embed.Etcd, err error) {
	defer func() {
		if r := recover(); r != nil {
			etcd, err = nil, fmt.Errorf("etcd gave up, which it does for a damaged data folder: %v", r)
		}
	}()
	return embed.StartEtcd(cfg)
}

// probe looks whether the data folder can be had. etcd would wait for another process's lock without a word.
func probe(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Nanosecond})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrInUse
	case err != nil:
		return err
	}
	return db.Close()
}

// endWith returns an interceptor under which every stream ends when ctx does. Without it Close would wait seconds for each client
// that watches.
func endWith(ctx context.Context) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		sctx, cancel := context.WithCancel(ss.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		err := handler(srv, endable{ss, sctx})
		if ctx.Err() != nil {
			return rpctypes.ErrGRPCStopped // says "try elsewhere"; a mere cancellation would end the client's watch for good
		}
		return err
	}
}

type endable struct {
	grpc.ServerStream
	ctx context.Context
}

func (e endable) Context() context.Context { return e.ctx }
