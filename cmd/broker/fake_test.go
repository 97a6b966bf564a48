package main

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// fakeBroker stands where the command line ends: at the generated interfaces.
type fakeBroker struct {
	tokenbrokerv1.UnimplementedTokenBrokerServiceServer
	tokenbrokerv1.UnimplementedAdminServiceServer
	health *health.Server

	get     func(*tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error)
	watch   func(tokenbrokerv1.TokenBrokerService_WatchTokenServer) error
	report  func(*tokenbrokerv1.ReportInvalidTokenRequest) (*tokenbrokerv1.ReportInvalidTokenResponse, error)
	list    *tokenbrokerv1.ListTokensResponse
	status  *tokenbrokerv1.GetStatusResponse
	refresh func(*tokenbrokerv1.RefreshTokenRequest) (*tokenbrokerv1.RefreshTokenResponse, error)
}

func (b *fakeBroker) GetToken(_ context.Context, r *tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
	return b.get(r)
}

func (b *fakeBroker) WatchToken(_ *tokenbrokerv1.WatchTokenRequest, s tokenbrokerv1.TokenBrokerService_WatchTokenServer) error {
	return b.watch(s)
}

func (b *fakeBroker) ReportInvalidToken(_ context.Context, r *tokenbrokerv1.ReportInvalidTokenRequest) (*tokenbrokerv1.ReportInvalidTokenResponse, error) {
	return b.report(r)
}

func (b *fakeBroker) ListTokens(context.Context, *tokenbrokerv1.ListTokensRequest) (*tokenbrokerv1.ListTokensResponse, error) {
	return b.list, nil
}

func (b *fakeBroker) GetStatus(context.Context, *tokenbrokerv1.GetStatusRequest) (*tokenbrokerv1.GetStatusResponse, error) {
	return b.status, nil
}

func (b *fakeBroker) RefreshToken(_ context.Context, r *tokenbrokerv1.RefreshTokenRequest) (*tokenbrokerv1.RefreshTokenResponse, error) {
	return b.refresh(r)
}

func (b *fakeBroker) ResignLeadership(context.Context, *tokenbrokerv1.ResignLeadershipRequest) (*tokenbrokerv1.ResignLeadershipResponse, error) {
	return &tokenbrokerv1.ResignLeadershipResponse{Leader: &tokenbrokerv1.Leader{Id: "broker-2", Address: "10.0.0.2:7700", Term: 91}}, nil
}

// start serves the fake on a free port until the test ends.
func (b *fakeBroker) start(t *testing.T, opts ...grpc.ServerOption) string {
	t.Helper()
	return b.startOn(t, "tcp", "127.0.0.1:0", opts...)
}

// startOn is start on any address.
func (b *fakeBroker) startOn(t *testing.T, network, address string, opts ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	b.health = health.NewServer()
	b.health.SetServingStatus(tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	server := grpc.NewServer(opts...)
	healthpb.RegisterHealthServer(server, b.health)
	tokenbrokerv1.RegisterTokenBrokerServiceServer(server, b)
	tokenbrokerv1.RegisterAdminServiceServer(server, b)
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// closedPort returns an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	return etcdtest.FreeAddress(t)
}
