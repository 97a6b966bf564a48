package gateway_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
	"github.com/tokenbroker/tokenbroker/internal/server"
)

// guard is an interceptor that lets nobody in who has not said the word.
type guard struct {
	mu   sync.Mutex
	seen []metadata.MD
}

func (g *guard) admit(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = append(g.seen, md)
	switch strings.Join(md.Get("authorization"), ",") {
	case "Bearer friend":
		return nil
	case "":
		return status.Error(codes.Unauthenticated, "who are you?")
	default:
		return status.Error(codes.PermissionDenied, "not you")
	}
}

func (g *guard) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := g.admit(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (g *guard) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := g.admit(stream.Context()); err != nil {
		return err
	}
	return next(srv, stream)
}

// guarded moves a site's gateway before a gRPC server with interceptors.
func guarded(s *site) *guard {
	s.tb.Helper()
	g := &guard{}
	listener := bufconn.Listen(256 << 10)
	back := grpc.NewServer(grpc.UnaryInterceptor(g.unary), grpc.StreamInterceptor(g.stream))
	server.New(server.Config{}, s.view, s.leader, votes{}, plans{}).Register(back)
	conn, err := grpc.NewClient("passthrough:///guarded", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		s.tb.Fatal(err)
	}
	front, err := gateway.New(gateway.Config{Conn: conn, Admission: s.clients})
	if err != nil {
		s.tb.Fatal(err)
	}
	outer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = back.Serve(listener) })
	running.Go(func() { _ = front.Run(ctx, outer) })
	s.tb.Cleanup(func() {
		stop()
		back.Stop()
		running.Wait()
		_ = conn.Close()
	})
	s.url = "http://" + outer.Addr().String()
	return g
}

func TestNoPathPassesTheInterceptorsBy(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	guarded(s)
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/v1/tokens/" + stable, ""},
		{"HEAD", "/v1/tokens/" + stable, ""},
		{"GET", "/v1/tokens", ""},
		{"GET", "/v1/status", ""},
		{"GET", "/v1/tokens/" + stable + ":watch", ""},
		{"POST", "/v1/tokens/" + stable + ":reportInvalid", `{"accessToken":"old"}`},
	} {
		for word, want := range map[string]int{"": http.StatusUnauthorized, "Bearer foe": http.StatusForbidden} {
			var headers []string
			if word != "" {
				headers = []string{"Authorization", word}
			}
			r := s.do(c.method, c.path, c.body, headers...)
			if r.StatusCode != want || strings.Contains(r.body, "SECRET") || (want == http.StatusUnauthorized) != (r.Header.Get("Www-Authenticate") != "") {
				t.Errorf("%s %s with %q: %d, %v, %s", c.method, c.path, word, r.StatusCode, r.Header, r.body)
			}
		}
		if c.path == "/v1/tokens/"+stable+":watch" {
			s.watch(stable, "Authorization", "Bearer friend").want("token", "1")
		} else if r := s.do(c.method, c.path, c.body, "Authorization", "Bearer friend"); r.StatusCode != http.StatusOK {
			t.Errorf("%s %s with the word: %d, %s", c.method, c.path, r.StatusCode, r.body)
		}
	}
	if got, text := s.ask("POST", "/cgi-bin/stable_token", goodBody); got.Code != 40125 || strings.Contains(text, "SECRET") {
		t.Errorf("the compatible path answered %s", text)
	}
}

func TestCallerCannotSetOtherMetadata(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	g := guarded(s)
	s.get("/v1/tokens/"+stable, http.StatusOK, "Authorization", "Bearer friend", "Grpc-Metadata-Role", "admin", "Role", "admin",
		"Grpc-Metadata-X-Forwarded-For", "10.0.0.1", "Cookie", "role=admin", "X-Role-Bin", "YWRtaW4=",
		"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Tracestate", "a=b", "Grpc-Metadata-Tokenbroker-Origin-Peer", "10.0.0.1:1", "Tokenbroker-Origin-Client", "till", "Grpc-Metadata-Tokenbroker-Origin-Client", "till")
	for _, md := range g.seen {
		for key, values := range md {
			switch key {
			case "authorization", ":authority", "content-type", "user-agent", "grpc-accept-encoding", "x-forwarded-host":
			case "traceparent":
				if strings.Join(values, ",") != "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" {
					t.Errorf("the trace is %v", values)
				}
			case "x-forwarded-for", "tokenbroker-origin-peer":
				if len(values) != 1 || strings.Contains(strings.Join(values, ","), "10.0.0.1") {
					t.Errorf("a caller says that it is %v", values)
				}
			default:
				t.Errorf("the call has %s: %v", key, values)
			}
		}
	}
}
