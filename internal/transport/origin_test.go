package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// desk notes where the calls come from that it gets.
type desk struct {
	healthpb.UnimplementedHealthServer
	mu     sync.Mutex
	origin access.Origin
	err    error
}

// Check implements a call.
func (d *desk) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	o, err := transport.OriginOf(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.origin, d.err = o, err; err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return &healthpb.HealthCheckResponse{}, nil
}

// Watch implements a stream: it says something at each tenth of a second.
func (d *desk) Watch(_ *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := stream.Send(&healthpb.HealthCheckResponse{}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// serve runs a gRPC server with the desk on listeners until the test ends.
func serve(tb testing.TB, certificates *transport.Certificates, listeners ...net.Listener) *desk {
	tb.Helper()
	d := &desk{}
	var options []grpc.ServerOption
	if creds := transport.ServerCredentials(certificates); creds != nil {
		options = append(options, grpc.Creds(creds))
	}
	g := grpc.NewServer(append(options, grpc.ConnectionTimeout(time.Minute))...)
	healthpb.RegisterHealthServer(g, d)
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() { _ = g.Serve(l) })
	}
	tb.Cleanup(func() { g.Stop(); running.Wait() })
	return d
}

func listenTCP(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// waitForReady lets a call wait for a connection.
var waitForReady = grpc.WaitForReady(true)

// caller connects to a listener; cfg is nil for plaintext.
func caller(tb testing.TB, l net.Listener, cfg *tls.Config) (healthpb.HealthClient, *grpc.ClientConn) {
	tb.Helper()
	creds := insecure.NewCredentials()
	if cfg != nil {
		creds = credentials.NewTLS(cfg)
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(creds), grpc.WithDisableRetry()}
	if memory, ok := l.(*bufconn.Listener); ok {
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return memory.DialContext(ctx) }))
	}
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return healthpb.NewHealthClient(conn), conn
}

// shown is what a client shows, and whom it believes.
func shown(authority, client *issuer) *tls.Config {
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1"}
	cfg.RootCAs.AddCert(authority.cert)
	if client != nil {
		// Whatever authorities the server names.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{client.cert.Raw}, PrivateKey: client.key}, nil
		}
	}
	return cfg
}

func TestACallTellsItsAddressAndItsBearer(t *testing.T) {
	l := listenTCP(t)
	d := serve(t, nil, l)
	client, _ := caller(t, l, nil)
	var from peer.Peer
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "bearer abc.def")
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Peer(&from)); err != nil {
		t.Fatal(err)
	}
	if d.origin.Peer != from.LocalAddr.String() || d.origin.Bearer.Reveal() != "abc.def" || d.origin.Certificate != nil || d.origin.Client != "" {
		t.Errorf("%+v, want the peer %v", d.origin, from.LocalAddr)
	}
}

func TestAnAuthorizationThatIsNoneIsRefusedAndNotRepeated(t *testing.T) {
	l := listenTCP(t)
	d := serve(t, nil, l)
	client, _ := caller(t, l, nil)
	for _, values := range [][]string{
		{"Bearer s3cret", "Bearer s3cret"}, {""}, {"Bearer"}, {"Bearer "}, {"Bearer  s3cret"}, {"Bearer s3cret s3cret"}, {"Basic s3cret"}, {"s3cret"},
	} {
		ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{"authorization": values})
		_, err := client.Check(ctx, &healthpb.HealthCheckRequest{})
		if !errors.Is(d.err, access.ErrUnauthenticated) || strings.Contains(status.Convert(err).Message(), "s3cret") {
			t.Errorf("%q: %v", values, err)
		}
	}
}

func TestTheGatewaySaysWhoseCallItMakes(t *testing.T) {
	l := bufconn.Listen(64 << 10)
	authority := newAuthority(t, "authority")
	leaf := authority.issue("shop")
	f := newFiles(t, authority.issue("broker"), authority)
	for _, certificates := range []*transport.Certificates{nil, open(t, f)} {
		d := serve(t, certificates, l)
		client, conn := caller(t, l, nil)
		want := access.Origin{Peer: "192.0.2.1:1234", Certificate: leaf.cert, Client: "till"}
		if _, err := client.Check(transport.Forward(t.Context(), want), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
		if d.origin.Peer != want.Peer || d.origin.Client != want.Client || !leaf.cert.Equal(d.origin.Certificate) {
			t.Errorf("%+v", d.origin)
		}
		if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{}); !errors.Is(d.err, access.ErrUnauthenticated) {
			t.Errorf("a call of nobody: %v, %+v", err, d.origin)
		}
		_ = conn.Close()
		l = bufconn.Listen(64 << 10)
	}
}

func TestNobodyElseSaysWhoseCallItMakes(t *testing.T) {
	authority := newAuthority(t, "authority")
	f := newFiles(t, authority.issue("broker"), authority)
	plain, secured := listenTCP(t), listenTCP(t)
	for _, c := range []struct {
		desk *desk
		l    net.Listener
		cfg  *tls.Config
	}{{serve(t, nil, plain), plain, nil}, {serve(t, open(t, f), secured), secured, shown(authority, authority.issue("shop"))}} {
		client, _ := caller(t, c.l, c.cfg)
		for _, o := range []access.Origin{{Peer: "192.0.2.1:1"}, {Peer: "192.0.2.1:1", Client: "till"}, {Peer: "192.0.2.1:1", Certificate: authority.cert}} {
			_, err := client.Check(transport.Forward(t.Context(), o), &healthpb.HealthCheckRequest{})
			if !errors.Is(c.desk.err, access.ErrUnauthenticated) || c.desk.origin.Client != "" {
				t.Errorf("%+v: %v", o, err)
			}
		}
		for _, key := range []string{"tokenbroker-origin-peer", "tokenbroker-origin-client", "tokenbroker-origin-certificate-bin", "tokenbroker-origin-wrong"} {
			if _, err := client.Check(metadata.AppendToOutgoingContext(t.Context(), key, ""), &healthpb.HealthCheckRequest{}); err == nil {
				t.Errorf("%s was taken", key)
			}
		}
	}
}

// open opens certificates that nothing follows.
func open(tb testing.TB, f files, changes ...func(*transport.Config)) *transport.Certificates {
	tb.Helper()
	cfg := transport.Config{CertFile: f.cert, KeyFile: f.key, ClientCAFile: f.authorities}
	for _, change := range changes {
		change(&cfg)
	}
	c, err := transport.Open(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}
