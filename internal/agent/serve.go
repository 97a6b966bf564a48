package agent

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
	"github.com/tokenbroker/tokenbroker/internal/server"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// drainTime is how long calls under way may take to end when the agent is told to stop.
const drainTime = 5 * time.Second

// serve serves on the listeners, which it closes, until ctx ends. Then waits and streams end, other calls are finished within drainTime, and
// the rest is cut off. It returns nil then; before that, the error for which it could not serve.
func (s *service) serve(ctx context.Context, cfg Config) error {
	g := grpc.NewServer(append(server.Options(0),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream), grpc.UnknownServiceHandler(unknown))...)
	tokenbrokerv1.RegisterTokenBrokerServiceServer(g, s)
	serving := health.NewServer() // "" is SERVING from the start
	serving.SetServingStatus(tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(g, serving)

	var running sync.WaitGroup
	defer running.Wait()
	failed := make(chan error, 3)
	take := func(l net.Listener) {
		running.Go(func() {
			if err := g.Serve(l); err != nil {
				failed <- fmt.Errorf("serving gRPC on %v: %w", l.Addr(), err)
			}
		})
	}
	if cfg.GRPC != nil {
		take(cfg.GRPC)
	}
	var front sync.WaitGroup
	fronting, stopFront := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFront()
	if cfg.HTTP != nil {
		inner := bufconn.Listen(256 << 10)
		take(inner)
		front.Go(func() {
			if err := s.front(fronting, cfg, inner); err != nil {
				failed <- err
			}
		})
	}

	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	s.log.Info("shutting down")
	serving.Shutdown()
	s.drain()
	stopFront()
	front.Wait() // its requests are calls
	cut := time.AfterFunc(drainTime, g.Stop)
	defer cut.Stop()
	g.GracefulStop()
	return err
}

// front serves HTTP until ctx ends, by calls of the very gRPC server that callers from elsewhere reach.
func (s *service) front(ctx context.Context, cfg Config, inner *bufconn.Listener) error {
	conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return inner.DialContext(ctx) }))
	if err != nil {
		return errors.Join(fmt.Errorf("connecting the gateway: %w", err), cfg.HTTP.Close())
	}
	defer func() { _ = conn.Close() }()
	g, err := gateway.New(gateway.Config{Conn: conn, Admission: locals{}, AnyMode: cfg.AnyMode, Logger: cfg.Logger})
	if err != nil {
		return errors.Join(fmt.Errorf("preparing the gateway: %w", err), cfg.HTTP.Close())
	}
	return g.Run(ctx, cfg.HTTP)
}

// Secret is what callers of the WeChat-compatible paths give as their secret. It proves nothing: whoever can connect may have every token
// by the other paths. But it is certainly nobody's AppSecret, which thus has no reason to be anywhere but at the brokers.
const Secret = "agent"

// locals is the gateway's admission: whoever can connect is a caller of this host.
type locals struct{}

// Admit implements gateway.Admission.
func (locals) Admit(_ *http.Request, secret string) (*gateway.Client, bool) {
	if subtle.ConstantTimeCompare([]byte(secret), []byte(Secret)) != 1 {
		return nil, false
	}
	return &gateway.Client{Name: "local", Tokens: []string{"*"}}, true
}
