package transport_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// beginner is a caller who writes frames.
type beginner struct {
	*http2.Framer
	next   uint32
	answer chan struct{} // to a ping
	closed chan struct{} // once the server has closed the connection
	hangUp func()
}

// serveHealth serves gRPC with the credentials of production, and returns a function that connects to it.
func serveHealth(t *testing.T) func() *beginner {
	t.Helper()
	authority := newAuthority(t, "authority")
	server, dir := authority.issue("server"), t.TempDir()
	cfg := transport.Config{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for name, text := range map[string][]byte{cfg.CertFile: server.certPEM(), cfg.KeyFile: server.keyPEM()} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := transport.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(transport.ServerCredentials(c)), grpc.MaxConcurrentStreams(1024))
	grpc_health_v1.RegisterHealthServer(g, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	roots := x509.NewCertPool()
	roots.AddCert(authority.cert)
	return func() *beginner {
		t.Helper()
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b := &beginner{Framer: http2.NewFramer(conn, conn), next: 1, answer: make(chan struct{}, 1), closed: make(chan struct{})}
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		if err := b.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(b.closed)
			for {
				f, err := b.ReadFrame()
				if ping, ok := f.(*http2.PingFrame); ok && ping.IsAck() {
					b.answer <- struct{}{}
				}
				if _, ill := errors.AsType[http2.StreamError](err); err != nil && !ill {
					return
				}
			}
		}()
		b.hangUp = sync.OnceFunc(func() { conn.Close(); <-b.closed })
		t.Cleanup(b.hangUp)
		return b
	}
}

// begin begins a call, and returns its stream.
func (b *beginner) begin() (uint32, error) {
	var block headerBlock
	packer := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":path", grpc_health_v1.Health_Check_FullMethodName}, {":authority", "127.0.0.1"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = packer.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	stream := b.next
	b.next += 2
	return stream, b.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true})
}

type headerBlock []byte

func (h *headerBlock) Write(p []byte) (int, error) { *h = append(*h, p...); return len(p), nil }

// heard reports whether the server has read all that was written, and not closed the connection. It may be asked twice: gRPC answers to no
// more.
func (b *beginner) heard() bool {
	if b.WritePing(false, [8]byte{}) != nil {
		return false
	}
	select {
	case <-b.answer:
		return true
	case <-b.closed:
		return false
	}
}

// beginThousand begins that many calls, and reports whether all were taken.
func (b *beginner) beginThousand() bool {
	for range 1000 {
		if _, err := b.begin(); err != nil {
			return false
		}
	}
	return b.heard()
}

func TestACallerWhoBeginsCallsAndSendsNoRequestsIsCutOff(t *testing.T) {
	dial := serveHealth(t)
	before := runtime.NumGoroutine()
	var taken []*beginner
	for range 8 {
		if b := dial(); b.beginThousand() {
			taken = append(taken, b)
		}
	}
	if len(taken) != 2 {
		t.Fatalf("%d of 8 connections could begin 1000 calls each, want 2", len(taken))
	}
	if more := runtime.NumGoroutine() - before; more > 2500 {
		t.Errorf("%d goroutines wait for requests", more)
	}
	if dial().beginThousand() {
		t.Error("those who were cut off have made room")
	}

	// Those who end what they have begun do, and those who hang up.
	for stream := uint32(1); stream < taken[0].next; stream += 2 {
		if err := taken[0].WriteRSTStream(stream, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
	}
	if !taken[0].heard() || !dial().beginThousand() {
		t.Error("what was reset is still counted")
	}
	taken[1].hangUp()
	// The server notices it a little later.
	for late := time.Now().Add(time.Minute); !dial().beginThousand(); {
		if time.Now().After(late) {
			t.Fatal("what hung up is still counted")
		}
	}
}

func TestCallsWhoseRequestsArriveAreNotCountedAsBegun(t *testing.T) {
	b := serveHealth(t)()
	for range 5000 { // more than may be begun
		stream, err := b.begin()
		if err == nil {
			err = b.WriteData(stream, true, make([]byte, 5))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !b.heard() {
		t.Error("a caller is cut off whose requests have all arrived")
	}
}
