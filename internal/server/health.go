package server

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// healthNames are the services whose health is told; "" stands for the whole replica.
var healthNames = [...]string{
	"",
	tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName,
	tokenbrokerv1.AdminService_ServiceDesc.ServiceName,
}

// newHealth returns a health server that knows all names from the start: NOT_SERVING is an answer, an unknown name is an error.
func newHealth() *health.Server {
	h := health.NewServer()
	for _, name := range healthNames {
		h.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
	return h
}

// announce reports SERVING once there is something to serve from, be it what is in the store or, while that is away, what the replica
// had itself: whether this replica leads does not matter. What happens to the store later does not either, because a replica serves
// from memory, and says of each token what it can still promise.
func (s *Server) announce(ctx context.Context) {
	for {
		_, moved := s.view.Applied(0)
		if s.view.Filled() {
			break
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
	s.loaded.Store(true)
	for _, name := range healthNames {
		s.health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
}

// Ready reports whether health is SERVING.
func (s *Server) Ready() bool { return s.loaded.Load() && !s.retired.Load() }

// Retire reports NOT_SERVING from now on, and goes on serving: clients that follow health turn to other replicas. It is the first
// step of a shutdown, before leadership is handed over; Run does it at the latest.
func (s *Server) Retire() {
	s.retired.Store(true)
	s.health.Shutdown()
}

// healthService is health whose streams end when the replica drains. Those of health.Server do not, and a graceful stop would wait
// for them in vain.
type healthService struct {
	*health.Server
	ending func(context.Context) (context.Context, context.CancelFunc)
}

// Watch implements the method of that name.
func (h healthService) Watch(req *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	ctx, cancel := h.ending(stream.Context())
	defer cancel()
	return h.Server.Watch(req, &boundedStream{stream, func() context.Context { return ctx }})
}

// boundedStream is a stream with a shorter life. The health server keeps streams as keys of a map: use its address.
type boundedStream struct {
	grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]
	context func() context.Context
}

// Context returns the context of the shorter life.
func (b *boundedStream) Context() context.Context { return b.context() }
