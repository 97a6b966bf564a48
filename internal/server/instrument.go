package server

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// serverStream is how dashboards call a stream of answers.
const serverStream = "server_stream"

// rpcMetrics bear the names and labels that dashboards for Go's gRPC servers know. What is under way is started less handled.
type rpcMetrics struct {
	started *prometheus.CounterVec
	handled *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newRPCMetrics() rpcMetrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	return rpcMetrics{
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_started_total",
			Help: "Calls that arrived. Less grpc_server_handled_total: calls and streams that are open now.",
		}, labels),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_handled_total",
			Help: "Calls that ended, by code. Unavailable: callers got no token. Internal: a fault of the broker, its log has the cause; " +
				"if it has none, a request that could not be decoded.",
		}, append(labels, "grpc_code")),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "grpc_server_handling_seconds",
			Help:    "How long calls took, waiting for a newer token included; for streams, how long they were open.",
			Buckets: []float64{.0001, .001, .01, .1, .5, 1, 2.5, 10, 60},
		}, labels),
	}
}

func (m rpcMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.started, m.handled, m.seconds}
}

// call is one method: what its callers need, and the counters of its calls. All series are there from the start: a rate over a series that
// begins at 1 is 0.
type call struct {
	Method
	scope   scope
	started prometheus.Counter
	handled [codes.Unauthenticated + 1]prometheus.Counter
	seconds prometheus.Observer
}

func (m rpcMetrics) method(kind, service, method string) *call {
	needs := permissions()[method]
	c := &call{
		Method:  Method{Name: "/" + service + "/" + method, Verb: needs.verb, Stream: kind == serverStream},
		scope:   needs.scope,
		started: m.started.WithLabelValues(kind, service, method),
		seconds: m.seconds.WithLabelValues(kind, service, method),
	}
	for code := range c.handled {
		c.handled[code] = m.handled.WithLabelValues(kind, service, method, codes.Code(code).String())
	}
	return c
}

// done books the end of a call. Codes beyond gRPC's own are booked as Unknown.
func (c *call) done(code codes.Code, begin time.Time) {
	c.seconds.Observe(time.Since(begin).Seconds())
	if int(code) >= len(c.handled) {
		code = codes.Unknown
	}
	c.handled[code].Inc()
}

// Register adds both services to a registrar. Their calls are counted, timed, shown to the Guard, kept from panicking, and their errors made
// statuses. This is done around the generated handlers and not by interceptors, which allocate on every call.
func (s *Server) Register(registrar grpc.ServiceRegistrar) {
	registrar.RegisterService(s.instrument(tokenbrokerv1.TokenBrokerService_ServiceDesc), s)
	registrar.RegisterService(s.instrument(tokenbrokerv1.AdminService_ServiceDesc), s)
}

// instrument returns a copy of desc; the generated one is shared by all servers of the process.
func (s *Server) instrument(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	methods := make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		m.Handler = s.unary(s.rpcs.method("unary", desc.ServiceName, m.MethodName), m.Handler)
		methods[i] = m
	}
	streams := make([]grpc.StreamDesc, len(desc.Streams))
	for i, m := range desc.Streams {
		m.Handler = s.stream(s.rpcs.method(serverStream, desc.ServiceName, m.StreamName), m.Handler)
		streams[i] = m
	}
	desc.Methods, desc.Streams = methods, streams
	return &desc
}

// unary wraps a handler. The deferred function costs no allocation, because it does not outlive the call's frame.
func (s *Server) unary(c *call, next grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (response any, err error) {
		begin := time.Now()
		c.started.Inc()
		var visit Visit
		defer func() {
			if p := recover(); p != nil {
				response, err = nil, panicked(p)
			}
			if err != nil {
				err = s.toStatus(ctx, c.Name, err)
			}
			if visit != nil {
				visit.End(err)
			}
			c.done(status.Code(err), begin)
		}()
		if s.cfg.Guard == nil {
			return next(srv, ctx, decode, interceptor)
		}
		if visit, err = s.cfg.Guard.Admit(ctx, c.Method); err != nil {
			return nil, err
		}
		return c.guarded(ctx, visit, next, srv, decode, interceptor)
	}
}

// stream does the same for a stream, which counts as handled when it ends.
func (s *Server) stream(c *call, next grpc.StreamHandler) grpc.StreamHandler {
	return func(srv any, stream grpc.ServerStream) (err error) {
		begin := time.Now()
		c.started.Inc()
		var visit Visit
		defer func() {
			if p := recover(); p != nil {
				err = panicked(p)
			}
			if err != nil {
				err = s.toStatus(stream.Context(), c.Name, err)
			}
			if visit != nil {
				visit.End(err)
			}
			c.done(status.Code(err), begin)
		}()
		if s.cfg.Guard == nil {
			return next(srv, stream)
		}
		if visit, err = s.cfg.Guard.Admit(stream.Context(), c.Method); err != nil {
			return err
		}
		return next(srv, c.guard(visit, stream))
	}
}

// panicked makes an error of a recovered panic. Only the runtime's own texts are kept: any other value may contain a token.
func panicked(p any) error {
	if fault, ok := p.(runtime.Error); ok {
		return fmt.Errorf("panic: %w\n%s", fault, debug.Stack())
	}
	return fmt.Errorf("panic with a %T\n%s", p, debug.Stack())
}
