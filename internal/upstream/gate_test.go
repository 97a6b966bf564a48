package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
)

func itoa(n int) string { return strconv.Itoa(n) }

// journal is a list of events in the order in which they were noted.
type journal struct {
	mu     sync.Mutex
	events []string
	bytes  int // written
}

func (j *journal) note(event string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event)
}

func (j *journal) written() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytes
}

func (j *journal) list() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.events...)
}

// watchedConn notes every write to the socket.
type watchedConn struct {
	net.Conn
	journal *journal
}

func (c *watchedConn) Write(p []byte) (int, error) {
	c.journal.note("write")
	n, err := c.Conn.Write(p)
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	c.journal.bytes += n
	return n, err
}

func (j *journal) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &watchedConn{conn, j}, nil
}

// tail returns the events from the first "before" on, and whether there were any earlier.
func tail(events []string) (later []string, earlier bool) {
	for i, event := range events {
		if event == "before" {
			return events[i:], i > 0
		}
	}
	return nil, len(events) > 0
}

// route is one way to a server.
type route struct {
	url string
	cfg upstream.Config
	pre bool // bytes are written before the request: a handshake or a CONNECT
}

// routes are the ways to a server that speaks HTTP: plain, with TLS, and each through a proxy.
func routes(t *testing.T, handler http.Handler) map[string]route {
	t.Helper()
	plain, secure := httptest.NewServer(handler), serveTLS(t, handler, tls.VersionTLS13)
	t.Cleanup(plain.Close)
	proxy := serveProxy(t, nil)
	pool := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return map[string]route{
		"http":                     {plain.URL, upstream.Config{}, false},
		"https":                    {secure.URL, upstream.Config{RootCAs: pool}, true},
		"https through a proxy":    {secure.URL, upstream.Config{RootCAs: pool, Proxy: http.ProxyURL(proxy)}, true},
		"http through a web proxy": {plain.URL, upstream.Config{Proxy: http.ProxyURL(serveProxy(t, handler))}, false},
		"https, TLS 1.2":           {serveTLS(t, handler, tls.VersionTLS12).URL, upstream.Config{RootCAs: pool}, true},
	}
}

func serveTLS(t *testing.T, handler http.Handler, version uint16) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{MinVersion: version, MaxVersion: version}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail as they should
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// serveProxy is an HTTP proxy: it tunnels CONNECT and hands the rest to the handler.
func serveProxy(t *testing.T, rest http.Handler) *url.URL {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			rest.ServeHTTP(w, r)
			return
		}
		if r.Host == "refused.invalid:443" {
			http.Error(w, "no", http.StatusProxyAuthRequired)
			return
		}
		target, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		defer func() { _ = target.Close() }()
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(target, buffered); _ = target.Close() })
		both.Go(func() { _, _ = io.Copy(conn, target); _ = conn.Close() })
		both.Wait()
	}))
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func TestHooksStandImmediatelyAroundTheOneWriteOfTheRequest(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok")
	})
	for name, route := range routes(t, handler) {
		t.Run(name, func(t *testing.T) {
			j := new(journal)
			route.cfg.Dial = j.dial
			// Longer than net/http's usual buffer and TLS's usual first record: it must still be one write.
			body := make([]byte, 13<<10)
			written := 0
			answer, err := newClient(t, route.cfg).Do(t.Context(), upstream.Request{
				Method: http.MethodPost, URL: route.url, Body: body, ContentType: "application/octet-stream",
				BeforeWrite: func() error { j.note("before"); written = -j.written(); return nil },
				AfterWrite:  func() { j.note("after"); written += j.written() },
			})
			if err != nil || string(answer.Body) != "ok" {
				t.Fatalf("got %q, %v", answer.Body, err)
			}
			later, earlier := tail(j.list())
			if diff := cmp.Diff([]string{"before", "write", "after"}, later[:min(3, len(later))]); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if written < len(body) {
				t.Errorf("%d bytes were written between the hooks, the body alone has %d", written, len(body))
			}
			if strings.Count(strings.Join(later, " "), "after") != 1 {
				t.Errorf("AfterWrite was not called once: %v", later)
			}
			if earlier != route.pre {
				t.Errorf("bytes were written before the request: %v, want %v", earlier, route.pre)
			}
		})
	}
}

func TestRequestThatIsHeldBackWritesNothing(t *testing.T) {
	var hits atomic.Int32
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	for name, route := range routes(t, handler) {
		t.Run(name, func(t *testing.T) {
			hits.Store(0)
			j := new(journal)
			route.cfg.Dial = j.dial
			f := fail(t, t.Context(), newClient(t, route.cfg), upstream.Request{
				Method: http.MethodGet, URL: route.url + "/path",
				BeforeWrite: func() error { j.note("before"); return errors.New("too late by a second") },
				AfterWrite:  func() { j.note("after") },
			})
			wantNone(t, f, token.Transient, "not_written")
			if f.Message != "too late by a second" {
				t.Errorf("the message is %q", f.Message)
			}
			if later, _ := tail(j.list()); !cmp.Equal(later, []string{"before"}) {
				t.Errorf("events %v", later)
			}
			if hits.Load() != 0 {
				t.Error("the server saw a request")
			}
		})
	}
}

func TestAfterWriteIsCalledBeforeDoReturns(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	client := newClient(t, upstream.Config{})
	for range 200 {
		after := false // not atomic: the race detector would see a call that comes too late
		r := get(server.URL)
		r.AfterWrite = func() { after = true }
		if _, err := client.Do(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if !after {
			t.Fatal("the answer was there before AfterWrite")
		}
	}
}

func TestFailuresToConnectAreUnreachable(t *testing.T) {
	closed := closedPort(t)
	secure := serveTLS(t, http.NotFoundHandler(), tls.VersionTLS13)
	mute := serveRaw(t, func(_ *rawServer, conn net.Conn) { waitGone(conn) })
	plain := answering(t, "HTTP/1.1 400 Bad Request\r\n\r\n")
	proxy := http.ProxyURL(serveProxy(t, nil))
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	short := 50 * time.Millisecond

	for name, c := range map[string]struct {
		url  string
		cfg  upstream.Config
		code string
	}{
		"refused":               {"http://" + closed, upstream.Config{}, "dial"},
		"dial hangs":            {"http://127.0.0.1:1", upstream.Config{Dial: hang, DialTimeout: short}, "dial"},
		"attempt's time is up":  {"http://127.0.0.1:1", upstream.Config{Dial: hang, Timeout: short}, "dial"},
		"unknown authority":     {secure.URL, upstream.Config{RootCAs: x509.NewCertPool()}, "tls"},
		"handshake hangs":       {strings.Replace(mute.url, "http:", "https:", 1), upstream.Config{TLSTimeout: short}, "tls"},
		"no TLS there":          {strings.Replace(plain.url, "http:", "https:", 1), upstream.Config{}, "tls"},
		"proxy refuses":         {"https://refused.invalid", upstream.Config{Proxy: proxy}, "proxy"},
		"proxy cannot":          {"https://" + closed, upstream.Config{Proxy: proxy}, "proxy"},
		"proxy is not there":    {"https://refused.invalid", upstream.Config{Proxy: at("http://" + closed)}, "dial"},
		"proxy hangs":           {"https://refused.invalid", upstream.Config{Proxy: at(mute.url), DialTimeout: time.Second, TLSTimeout: short}, "proxy"},
		"socks proxy is absent": {"https://refused.invalid", upstream.Config{Proxy: at("socks5://" + closed)}, "dial"},
	} {
		t.Run(name, func(t *testing.T) {
			r := get(c.url)
			r.BeforeWrite = func() error { t.Error("BeforeWrite was called"); return nil }
			r.AfterWrite = func() { t.Error("AfterWrite was called") }
			f := fail(t, t.Context(), newClient(t, c.cfg), r)
			wantNone(t, f, token.Unreachable, c.code)
			if f.Remedy == "" {
				t.Error("there is no remedy")
			}
		})
	}
}

// closedPort returns an address on which nobody listens, nor will before the test ends: it is the near end of a connection.
func closedPort(t *testing.T) string {
	t.Helper()
	server := serveRaw(t, func(_ *rawServer, conn net.Conn) { waitGone(conn) })
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.LocalAddr().String()
}

func at(proxy string) func(*http.Request) (*url.URL, error) {
	return func(*http.Request) (*url.URL, error) { return url.Parse(proxy) }
}

func TestMalformedProxyAddressIsNotQuoted(t *testing.T) {
	cfg := upstream.Config{Proxy: at("http://user:canary@[::bad")}
	f := fail(t, t.Context(), newClient(t, cfg), get("http://127.0.0.1:1"))
	wantNone(t, f, token.Human, "proxy")
	if strings.Contains(f.Error(), "canary") {
		t.Errorf("the failure quotes the address: %v", f)
	}
}

func TestTimeAfterTheWriteLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	mute := serveRaw(t, func(s *rawServer, conn net.Conn) { s.read(conn); waitGone(conn) })
	slow := serveRaw(t, func(s *rawServer, conn net.Conn) {
		s.read(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
		waitGone(conn)
	})
	const brief = 500 * time.Millisecond // yet ample for getting to the write
	for name, server := range map[string]*rawServer{"no answer": mute, "half an answer": slow} {
		t.Run(name+" in the client's time", func(t *testing.T) {
			t.Parallel()
			client := newClient(t, upstream.Config{Timeout: brief})
			wantUnknown(t, fail(t, t.Context(), client, get(server.url)), token.Transient, "timeout")
		})
		t.Run(name+" in the caller's time", func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), brief)
			defer cancel()
			wantUnknown(t, fail(t, ctx, newClient(t, upstream.Config{}), get(server.url)), token.Transient, "timeout")
		})
	}
}

// deadlineConn remembers the deadlines that were set.
type deadlineConn struct {
	net.Conn
	mu  sync.Mutex
	set []time.Time
}

func (c *deadlineConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = append(c.set, t)
	return c.Conn.SetDeadline(t)
}

func (c *deadlineConn) deadlines() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Time(nil), c.set...)
}

func TestTimeForGettingReadyIsBoundedAndEndsWithTheWrite(t *testing.T) {
	for name, route := range routes(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) {
		t.Run(name, func(t *testing.T) {
			var conn *deadlineConn
			route.cfg.DialTimeout, route.cfg.TLSTimeout = time.Hour, time.Minute
			route.cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				dialled, err := new(net.Dialer).DialContext(ctx, network, address)
				conn = &deadlineConn{Conn: dialled}
				return conn, err
			}
			var set []time.Time
			r := get(route.url)
			r.BeforeWrite = func() error { set = conn.deadlines(); return nil }
			start := time.Now()
			if _, err := newClient(t, route.cfg).Do(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if len(set) != 2 || set[0].Before(start.Add(61*time.Minute)) || set[0].After(time.Now().Add(61*time.Minute)) || !set[1].IsZero() {
				t.Errorf("the deadlines were %v, want one 61 min after %v, and then none", set, start)
			}
		})
	}
}

func TestCancellingSaysWhetherTheRequestWasWritten(t *testing.T) {
	server := serveRaw(t, func(s *rawServer, conn net.Conn) { s.read(conn); waitGone(conn) })
	cause := errors.New("trust lost")

	t.Run("while dialling", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cfg := upstream.Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel(cause)
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		wantNone(t, fail(t, ctx, newClient(t, cfg), get(server.url)), token.Transient, "not_written")
	})
	t.Run("before anything", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		wantNone(t, fail(t, ctx, newClient(t, upstream.Config{}), get(server.url)), token.Transient, "not_written")
	})
	t.Run("after the write", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := get(server.url)
		r.AfterWrite = func() { cancel(cause) }
		wantUnknown(t, fail(t, ctx, newClient(t, upstream.Config{}), r), token.Transient, "canceled")
	})
}

// A connection that the upstream accepts late must not carry a request that was given up meanwhile.
func TestConnectionThatComesTooLateIsClosedUnused(t *testing.T) {
	closed := make(chan struct{})
	proceed := make(chan struct{})
	cfg := upstream.Config{Dial: func(context.Context, string, string) (net.Conn, error) {
		<-proceed // deaf to its context, like a badly behaved resolver
		near, far := net.Pipe()
		go func() {
			if n, _ := io.Copy(io.Discard, far); n != 0 {
				t.Errorf("%d bytes were written", n)
			}
			close(closed)
		}()
		return near, nil
	}, Timeout: 20 * time.Millisecond}
	wantNone(t, fail(t, t.Context(), newClient(t, cfg), get("http://127.0.0.1:1")), token.Unreachable, "dial")
	close(proceed)
	<-closed
}

// limitedConn takes so many bytes and then fails.
type limitedConn struct {
	net.Conn
	left int
}

func (c *limitedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p[:min(c.left, len(p))])
	c.left -= n
	if err == nil && n < len(p) {
		err = errors.New("broken")
	}
	return n, err
}

func TestOneByteDecidesWhetherTheRequestWasWritten(t *testing.T) {
	for _, taken := range []int{0, 1, 20} {
		server := serveRaw(t, func(_ *rawServer, conn net.Conn) { waitGone(conn) })
		after := 0
		cfg := upstream.Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return &limitedConn{conn, taken}, err
		}}
		r := get(server.url)
		r.AfterWrite = func() { after++ }
		f := fail(t, t.Context(), newClient(t, cfg), r)
		if taken == 0 {
			wantNone(t, f, token.Unreachable, "not_written")
		} else {
			wantUnknown(t, f, token.Transient, "connection_lost")
		}
		if want := min(taken, 1); after != want {
			t.Errorf("%d bytes taken: AfterWrite was called %d times, want %d", taken, after, want)
		}
	}
}

func TestWriteThatIsCutOffKnowsWhatItWrote(t *testing.T) {
	for name, read := range map[string]int{"nothing": 0, "something": 5} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe() // a write blocks until the other end reads
			defer func() { _ = far.Close() }()
			cfg := upstream.Config{
				Dial:    func(context.Context, string, string) (net.Conn, error) { return near, nil },
				Timeout: 300 * time.Millisecond,
			}
			var reader sync.WaitGroup
			reader.Go(func() { _, _ = io.ReadFull(far, make([]byte, read)) })
			f := fail(t, t.Context(), newClient(t, cfg), get("http://127.0.0.1:1"))
			reader.Wait()
			if read == 0 {
				wantNone(t, f, token.Unreachable, "not_written")
			} else {
				wantUnknown(t, f, token.Transient, "timeout")
			}
		})
	}
}

// An end in good order would leave it to the kernel to go on sending a request, for minutes where packets are lost, that nobody waits for.
func TestRequestWithoutAnAnswerInTimeIsBrokenOffWithItsConnection(t *testing.T) {
	ended := make(chan error, 1)
	server := serveRaw(t, func(s *rawServer, conn net.Conn) {
		s.read(conn)
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	})
	f := fail(t, t.Context(), newClient(t, upstream.Config{Timeout: 200 * time.Millisecond}), get(server.url))
	wantUnknown(t, f, token.Transient, "timeout")
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset", err)
	}
}
