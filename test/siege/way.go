package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// The application protocols that TLS settles on.
const (
	h2    = "h2"
	http1 = "http/1.1"
)

// way is how somebody reaches a broker: where it is, whom to trust, and as whom to come.
type way struct {
	// GRPC, HTTP and Pages are host:port of the three ports: gRPC, the gateway, and metrics with probes.
	GRPC, HTTP, Pages string
	// CA is a file with the broker's authority. As is the caller's own certificate; without one the caller is nobody.
	CA string
	As pair
	// From is the IP address to come from; any of 127.0.0.0/8 will do on loopback.
	From string
}

// nobody is the same way without a certificate.
func (w way) nobody() way {
	w.As = pair{}
	return w
}

// from is the same way from another address: number 1 is 127.0.1.1.
func (w way) from(number int) way {
	w.From = fmt.Sprintf("127.0.%d.%d", 1+number/250, 1+number%250)
	return w
}

// dial connects, and says nothing.
func (w way) dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(w.From)}}
	return d.DialContext(ctx, "tcp", address)
}

// tls is the configuration to shake hands with.
func (w way) tls(protocol string) (*tls.Config, error) {
	text, err := os.ReadFile(w.CA)
	if err != nil {
		return nil, fmt.Errorf("reading the broker's authority: %w", err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1", NextProtos: []string{protocol}}
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, errors.New("the broker's authority is no certificate")
	}
	if w.As != (pair{}) {
		mine, err := tls.LoadX509KeyPair(w.As.Cert, w.As.Key)
		if err != nil {
			return nil, fmt.Errorf("reading the caller's certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{mine}
	}
	return c, nil
}

// greeted connects and shakes hands. The connection is closed if that fails.
func (w way) greeted(ctx context.Context, address string, c *tls.Config) (*tls.Conn, error) {
	raw, err := w.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, c)
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// grpc returns a connection that hides no failure: without retries.
func (w way) grpc() (*grpc.ClientConn, error) {
	c, err := w.tls(h2)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+w.GRPC,
		grpc.WithTransportCredentials(credentials.NewTLS(c)), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
		grpc.WithContextDialer(w.dial))
}

// several returns so many connections, and what closes them.
func (w way) several(connections int) ([]*grpc.ClientConn, func(), error) {
	conns := make([]*grpc.ClientConn, 0, connections)
	closeAll := func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	for range connections {
		conn, err := w.grpc()
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		conns = append(conns, conn)
	}
	return conns, closeAll, nil
}

// http returns a client for HTTP/1.1 that keeps so many connections at most.
func (w way) http(connections int) (*http.Client, error) {
	c, err := w.tls(http1)
	if err != nil {
		return nil, err
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return w.dial(ctx, address) }, TLSClientConfig: c,
		MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
	}}, nil
}
