package server

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/crowd"
)

// Calls of services that no guard is asked about, from one address and in all. One stream of health is enough for a connection: these are
// the connections that the configuration allows by default.
const (
	maxPublicByAddress = 1024
	maxPublic          = 4096
)

// public registers services that no guard is asked about, and bounds their calls: those that are streams, and those whose request does
// not come, have a goroutine as long as they last.
type public struct {
	*grpc.Server
	calls *crowd.Crowd
}

func newPublic(g *grpc.Server) public {
	return public{g, crowd.New(maxPublic, maxPublicByAddress)}
}

// RegisterService implements grpc.ServiceRegistrar.
func (p public) RegisterService(desc *grpc.ServiceDesc, impl any) {
	own := *desc // the generated one is shared by all servers of the process
	own.Methods, own.Streams = nil, nil
	for _, m := range desc.Methods {
		next := m.Handler
		m.Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			leave, err := p.enter(ctx)
			if err != nil {
				return nil, err
			}
			defer leave()
			return next(srv, ctx, decode, interceptor)
		}
		own.Methods = append(own.Methods, m)
	}
	for _, m := range desc.Streams {
		next := m.Handler
		m.Handler = func(srv any, stream grpc.ServerStream) error {
			leave, err := p.enter(stream.Context())
			if err != nil {
				return err
			}
			defer leave()
			return next(srv, stream)
		}
		own.Streams = append(own.Streams, m)
	}
	p.Server.RegisterService(&own, impl)
}

// enter counts a call until leave is called.
func (p public) enter(ctx context.Context) (leave func(), err error) {
	address := ""
	if from, ok := peer.FromContext(ctx); ok {
		address = from.Addr.String()
	}
	leave, ok := p.calls.Enter(address)
	if !ok {
		return nil, status.Error(codes.ResourceExhausted, "too many calls of health or reflection are open; one for each connection is enough")
	}
	return leave, nil
}
