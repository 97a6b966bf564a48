package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// service answers calls from what the client holds.
type service struct {
	tokenbrokerv1.UnimplementedTokenBrokerServiceServer

	log    *slog.Logger
	client *tokenbroker.Client
	known  sync.Map // the names of tokens that there have been
	list   list

	admission sync.Mutex // held while it is decided whether one more name is followed

	past     context.Context // has ended
	draining context.Context // ends when calls are to end
	drain    context.CancelFunc
}

// newService returns a service of the brokers at target. It connects to nobody yet. The caller must close the client.
func newService(cfg Config) (*service, error) {
	client, err := tokenbroker.New(context.Background(), cfg.Target, append([]tokenbroker.Option{tokenbroker.WithLogger(cfg.Logger)}, cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection: %w", err)
	}
	s := &service{log: cfg.Logger, client: client}
	past, end := context.WithCancel(context.Background())
	end()
	s.past = past
	s.draining, s.drain = context.WithCancel(context.Background())
	return s, nil
}

// ending derives a context that ends when the agent drains, too, with errDraining as its cause. The caller must cancel it.
func (s *service) ending(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.draining, func() { cancel(errDraining) })
	return ctx, func() { stop(); cancel(nil) }
}

// unary bounds the waits of a call, guards against panics, and makes its error a status.
func (s *service) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (response any, err error) {
	ctx, cancel := s.ending(ctx)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, panicked(p)
		}
		err = s.toStatus(ctx, info.FullMethod, err)
	}()
	return next(ctx, req)
}

// stream does the same for a stream, health's included.
func (s *service) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	ctx, cancel := s.ending(stream.Context())
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
		err = s.toStatus(ctx, info.FullMethod, err)
	}()
	return next(srv, &boundedStream{stream, func() context.Context { return ctx }})
}

// boundedStream is a stream with a shorter life.
type boundedStream struct {
	grpc.ServerStream
	context func() context.Context
}

// Context returns the context of the shorter life.
func (b *boundedStream) Context() context.Context { return b.context() }

// unknown answers what an agent does not serve: the orders and the status of operators, which concern one replica.
func unknown(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented, "an agent does not serve this; ask a broker")
}

// askAgain is how often the brokers are asked about a name that they do not know: it may be configured later.
const askAgain = 10 * time.Second

// follow has the client follow a token until ctx ends, and calls changed at each change.
func (s *service) follow(ctx context.Context, name string, changed func()) {
	for told := false; ctx.Err() == nil; {
		var last error
		for _, err := range s.client.Watch(ctx, name) {
			if err == nil {
				s.known.LoadOrStore(name, true)
			}
			told = told && err != nil
			last = err
			changed()
		}
		if said, ok := spoken(last); ok && !told {
			s.log.WarnContext(ctx, "token not to be had", "token", name, "err", said)
			told = true
		}
		again := time.NewTimer(askAgain)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
		}
	}
}
