package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// patience is how long a test waits for a server to close a connection: far longer than the server may take.
const patience = time.Minute

// dumb is a connection to no server: no request gets so far.
type dumb struct{ grpc.ClientConnInterface }

// Whoever connects and then says nothing, or too little, is cut off on both ports, with TLS and without.
func TestWhoIsTooSlowIsCutOff(t *testing.T) {
	authority := newAuthority(t, "authority")
	c := open(t, newFiles(t, authority.issue("broker"), authority))
	secured, plain, secureGateway, plainGateway := listenTCP(t), listenTCP(t), listenTCP(t), listenTCP(t)
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	serveGRPC := func(l net.Listener, options ...grpc.ServerOption) {
		g := grpc.NewServer(append(server.Options(0), options...)...)
		running.Go(func() { _ = g.Serve(l) })
		context.AfterFunc(ctx, g.Stop)
	}
	serveGRPC(secured, grpc.Creds(transport.ServerCredentials(c)))
	serveGRPC(plain)
	for l, certificates := range map[net.Listener]*transport.Certificates{secureGateway: c, plainGateway: nil} {
		g, err := gateway.New(gateway.Config{Conn: dumb{}, Certificates: certificates})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { _ = g.Run(ctx, l) })
	}
	t.Cleanup(func() { stop(); running.Wait() })

	hello := "\x16\x03\x01\x02\x00\x01\x00" // the beginning of a ClientHello of 512 bytes
	h2, h1 := shown(authority, nil), shown(authority, nil)
	h2.NextProtos, h1.NextProtos = []string{"h2"}, []string{"http/1.1"}
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	var slowly sync.WaitGroup
	for what, slow := range map[string]struct {
		l    net.Listener
		cfg  *tls.Config // nil: no handshake
		says string
	}{
		"gRPC with TLS: nothing":                {secured, nil, ""},
		"gRPC with TLS: half a handshake":       {secured, nil, hello},
		"gRPC with TLS: no preface":             {secured, h2, ""},
		"gRPC with TLS: half a preface":         {secured, h2, preface[:10]},
		"gRPC with TLS: no settings":            {secured, h2, preface},
		"gRPC: nothing":                         {plain, nil, ""},
		"gRPC: half a preface":                  {plain, nil, preface[:10]},
		"gateway with TLS: nothing":             {secureGateway, nil, ""},
		"gateway with TLS: half a handshake":    {secureGateway, nil, hello},
		"gateway with TLS: no request":          {secureGateway, h1, ""},
		"gateway with TLS: half a request":      {secureGateway, h1, "GET /v1/tokens HTTP/1.1\r\nHost: a"},
		"gateway with TLS: half a body":         {secureGateway, h1, "POST /v1/tokens/a:reportInvalid HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"},
		"gateway with TLS: HTTP/2, no preface":  {secureGateway, h2, ""},
		"gateway with TLS: HTTP/2, no settings": {secureGateway, h2, preface},
		"gateway: nothing":                      {plainGateway, nil, ""},
		"gateway: half a request":               {plainGateway, nil, "GET /v1/tokens HTTP/1.1\r\nHost: a"},
		"gateway: half a body":                  {plainGateway, nil, "POST /v1/tokens/a:reportInvalid HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"},
		"gateway: half a chunk":                 {plainGateway, nil, "POST /cgi-bin/stable_token HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"},
	} {
		slowly.Go(func() {
			if err := untilClosed(t.Context(), slow.l, slow.cfg, slow.says); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	slowly.Wait()
}

// untilClosed connects, says something, and waits until the server closes the connection.
func untilClosed(ctx context.Context, l net.Listener, cfg *tls.Config, says string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if cfg != nil {
		secured := tls.Client(conn, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			return err
		}
		conn = secured
	}
	if _, err := io.WriteString(conn, says); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err // still open
	}
	return nil
}
