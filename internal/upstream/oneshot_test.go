package upstream_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
)

func requests(base string) map[string]upstream.Request {
	return map[string]upstream.Request{
		"GET":  {Method: http.MethodGet, URL: base + "/path?q=1"},
		"POST": {Method: http.MethodPost, URL: base + "/path", Body: []byte(`{"a":1}`), ContentType: "application/json"},
	}
}

func TestRequestIsNeverRepeatedWhenTheServerHangsUp(t *testing.T) {
	hangUps := map[string]struct {
		serve func(s *rawServer, conn net.Conn)
		code  string
	}{
		"after the request": {func(s *rawServer, conn net.Conn) { s.read(conn) }, "connection_lost"},
		"with a reset":      {func(s *rawServer, conn net.Conn) { s.read(conn); _ = conn.(*net.TCPConn).SetLinger(0) }, "connection_lost"},
		"within the status": {func(s *rawServer, conn net.Conn) { s.read(conn); _, _ = io.WriteString(conn, "HTTP/1.1 2") }, "malformed"},
		"within the headers": {func(s *rawServer, conn net.Conn) {
			s.read(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nA: b\r\n")
		}, "truncated"},
		"within the body": {func(s *rawServer, conn net.Conn) {
			s.read(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
		}, "truncated"},
		"within a chunk": {func(s *rawServer, conn net.Conn) {
			s.read(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"")
		}, "truncated"},
	}
	for name, hangUp := range hangUps {
		for method := range requests("") {
			t.Run(method+" "+name, func(t *testing.T) {
				server := serveRaw(t, hangUp.serve)
				f := fail(t, t.Context(), newClient(t, upstream.Config{}), requests(server.url)[method])
				class := token.Transient
				if hangUp.code == "malformed" {
					class = token.Bug
				}
				wantUnknown(t, f, class, hangUp.code)
				if conns, requests := server.seen(); conns != 1 || requests != 1 {
					t.Errorf("the server saw %d connections and %d requests, want one of each", conns, requests)
				}
			})
		}
	}
}

func TestConnectionThatIsClosedAtOnceIsNotDialledAgain(t *testing.T) {
	server := serveRaw(t, func(_ *rawServer, conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) })
	fail(t, t.Context(), newClient(t, upstream.Config{}), get(server.url))
	if conns, _ := server.seen(); conns != 1 {
		t.Errorf("the server saw %d connections, want 1", conns)
	}
}

func TestEveryRequestHasItsOwnConnection(t *testing.T) {
	var conns atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || !r.Close {
			t.Errorf("the request came as %s, close %v", r.Proto, r.Close)
		}
		if encoding := r.Header.Get("Accept-Encoding"); encoding != "" {
			t.Errorf("the request accepts the encoding %s", encoding)
		}
		_, _ = io.WriteString(w, "{}")
	}))
	server.EnableHTTP2 = true
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	client := newClient(t, upstream.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	for range 3 {
		answer, err := client.Do(t.Context(), get(server.URL))
		if err != nil || answer.Status != 200 || string(answer.Body) != "{}" {
			t.Fatalf("got %v, %v", answer, err)
		}
	}
	if conns.Load() != 3 {
		t.Errorf("three requests took %d connections", conns.Load())
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	for method, request := range requests(server.URL) {
		hits.Store(0)
		answer, err := newClient(t, upstream.Config{}).Do(t.Context(), request)
		if err != nil || answer.Status != http.StatusTemporaryRedirect {
			t.Errorf("%s: got status %d, %v; want 307", method, answer.Status, err)
		}
		if hits.Load() != 1 {
			t.Errorf("%s: the server saw %d requests, want 1", method, hits.Load())
		}
	}
}

func TestAnswerIsBounded(t *testing.T) {
	body := func(n int) string { return "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", n) }
	answer, err := newClient(t, upstream.Config{}).Do(t.Context(), get(answering(t, body(upstream.MaxAnswerSize)).url))
	if err != nil || len(answer.Body) != upstream.MaxAnswerSize {
		t.Errorf("the longest allowed answer gave %d bytes, %v", len(answer.Body), err)
	}
	endless := serveRaw(t, func(s *rawServer, conn net.Conn) {
		s.read(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			if _, err := io.WriteString(conn, strings.Repeat("x", 1<<10)); err != nil {
				return
			}
		}
	})
	f := fail(t, t.Context(), newClient(t, upstream.Config{}), get(endless.url))
	wantUnknown(t, f, token.Bug, "too_large")

	headers := answering(t, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("x", 2*upstream.MaxAnswerSize)+"\r\n\r\n")
	wantUnknown(t, fail(t, t.Context(), newClient(t, upstream.Config{}), get(headers.url)), token.Bug, "malformed")
}

func TestCompressedAnswerIsNotUnpacked(t *testing.T) {
	server := answering(t, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b bomb")
	answer, err := newClient(t, upstream.Config{}).Do(t.Context(), get(server.url))
	if err != nil || string(answer.Body) != "\x1f\x8b bomb" {
		t.Errorf("got %q, %v", answer.Body, err)
	}
}

func TestAnswerThatIsNotHTTPIsMalformed(t *testing.T) {
	for _, text := range []string{"\x00\xff", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 banana\r\n\r\n", "HTTP/1.1 200 OK\r\n: :\r\n\r\n"} {
		f := fail(t, t.Context(), newClient(t, upstream.Config{}), get(answering(t, text+strings.Repeat("\r\n", 4)).url))
		wantUnknown(t, f, token.Bug, "malformed")
		if f.Message != "" {
			t.Errorf("the failure quotes the answer: %q", f.Message)
		}
	}
}

func TestRetryAfterIsReadAndBounded(t *testing.T) {
	for header, want := range map[string]string{"7": "7s", "-1": "0s", "soon": "0s", "99999999": "24h0m0s", "9e99": "0s"} {
		server := answering(t, "HTTP/1.1 503 Busy\r\nRetry-After: "+header+"\r\n\r\n")
		answer, err := newClient(t, upstream.Config{}).Do(t.Context(), get(server.url))
		if err != nil || answer.RetryAfter.String() != want {
			t.Errorf("Retry-After %s gave %v, %v; want %s", header, answer.RetryAfter, err, want)
		}
	}
}

func TestStatusSaysNothingOfTheOutcome(t *testing.T) {
	for status, class := range map[int]token.Class{
		101: token.Bug, 204: token.Bug, 302: token.Human, 401: token.Human, 404: token.Human, 429: token.MinuteQuota,
		500: token.Transient, 502: token.Transient, 504: token.Transient, 599: token.Transient,
	} {
		f := upstream.StatusFailure(upstream.Answer{Status: status, Body: []byte("canary")})
		wantUnknown(t, f, class, "http_"+itoa(status))
		if strings.Contains(f.Error(), "canary") {
			t.Errorf("the failure quotes the body: %v", f)
		}
	}
}

func TestTooLongRequestIsNotBegun(t *testing.T) {
	server := answering(t, "HTTP/1.1 200 OK\r\n\r\n")
	f := fail(t, t.Context(), newClient(t, upstream.Config{}), get(server.url+"/path?"+strings.Repeat("x", upstream.MaxRequestSize)))
	wantNone(t, f, token.Bug, "request")
	if conns, _ := server.seen(); conns != 0 {
		t.Error("the server was connected to")
	}
}
