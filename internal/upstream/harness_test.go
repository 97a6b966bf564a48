package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
)

// rawServer is a server below HTTP: it hands each connection to a function and counts.
type rawServer struct {
	url string

	mu       sync.Mutex
	conns    int
	requests []string
}

// serveRaw runs serve for every connection until the test ends. Connections are closed when serve returns.
func serveRaw(t *testing.T, serve func(s *rawServer, conn net.Conn)) *rawServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{url: "http://" + listener.Addr().String()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(s, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	return s
}

// read reads one request and remembers it.
func (s *rawServer) read(conn net.Conn) {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, _ := io.ReadAll(req.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, req.Method+" "+req.URL.String()+" "+string(body))
}

func (s *rawServer) seen() (conns, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns, len(s.requests)
}

// answering serves one fixed text after each request.
func answering(t *testing.T, text string) *rawServer {
	t.Helper()
	return serveRaw(t, func(s *rawServer, conn net.Conn) {
		s.read(conn)
		_, _ = io.WriteString(conn, text)
	})
}

// waitGone blocks until the peer has closed.
func waitGone(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

func newClient(t *testing.T, cfg upstream.Config) *upstream.Client {
	t.Helper()
	if cfg.Proxy == nil {
		cfg.Proxy = noProxy
	}
	client, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func get(address string) upstream.Request {
	return upstream.Request{Method: http.MethodGet, URL: address}
}

// fail makes a request that must fail and returns how.
func fail(t *testing.T, ctx context.Context, client *upstream.Client, r upstream.Request) *token.Failure {
	t.Helper()
	answer, err := client.Do(ctx, r)
	if err == nil {
		t.Fatalf("got status %d, want a failure", answer.Status)
	}
	failure, ok := errors.AsType[*token.Failure](err)
	if !ok {
		t.Fatalf("the error is a %T, want a *token.Failure", err)
	}
	if len(failure.Message) > token.MaxMessageSize {
		t.Errorf("the message has %d bytes", len(failure.Message))
	}
	if strings.Contains(err.Error(), "127.0.0.1") && strings.Contains(err.Error(), "/path") {
		t.Errorf("the error quotes the URL: %v", err)
	}
	return failure
}

func wantNone(t *testing.T, f *token.Failure, class token.Class, code string) {
	t.Helper()
	want(t, f, token.OutcomeNone, class, code)
	if f.Written {
		t.Errorf("%v says that the request was written", f)
	}
}

func wantUnknown(t *testing.T, f *token.Failure, class token.Class, code string) {
	t.Helper()
	want(t, f, token.OutcomeUnknown, class, code)
	if !f.Written {
		t.Errorf("%v says that the request was not written", f)
	}
}

func want(t *testing.T, f *token.Failure, outcome token.Outcome, class token.Class, code string) {
	t.Helper()
	if f.Outcome != outcome || f.Class != class || f.Code != code {
		t.Errorf("got %s, %s, %s (%v); want %s, %s, %s", f.Outcome, f.Class, f.Code, f, outcome, class, code)
	}
	if f.Meaning == "" {
		t.Error("the failure has no meaning")
	}
}
