package transport_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// log is a log that can be read while it is written.
type log struct{ logtest.Buffer }

// count is how many lines have a text.
func (l *log) count(text string) int { return len(l.Lines(text)) }

func (l *log) into(c *transport.Config) { c.Logger = slog.New(slog.NewTextHandler(l, nil)) }

// sample is the value of a metric that is one.
func sample(t *testing.T, c prometheus.Collector, name string, labels ...string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && strings.Join(values, " ") == strings.Join(labels, " ") {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s %v", name, labels)
	return 0
}

// shownBy is the certificate that a listener shows to who connects now.
func shownBy(t *testing.T, l net.Listener, cfg *tls.Config) *x509.Certificate {
	t.Helper()
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"h2"}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	secured, ok := conn.(*tls.Conn)
	if !ok {
		t.Fatalf("%T", conn)
	}
	return secured.ConnectionState().PeerCertificates[0]
}

func TestABrokenPairLeavesTheLastGoodOneInUseAndIsLoggedOnce(t *testing.T) {
	authority := newAuthority(t, "authority")
	first, second := authority.issue("first"), authority.issue("second")
	f := newFiles(t, first, authority)
	var logged log
	c := open(t, f, logged.into)
	l := listenTCP(t)
	serve(t, c, l)
	whole := second.certPEM()
	for what, spoil := range map[string]func(){
		"a certificate without its key": func() { put(t, f.cert, second.certPEM()) },
		"half a certificate":            func() { put(t, f.cert, whole[:len(whole)/2]) },
		"half a chain":                  func() { put(t, f.cert, first.certPEM(), whole[:len(whole)/2]) },
		"no certificate":                func() { put(t, f.cert) },
		"no file":                       func() { remove(t, f.key) },
		"no authorities":                func() { put(t, f.authorities, []byte("none")) },
		"half of the authorities":       func() { put(t, f.authorities, authority.certPEM(), whole[:len(whole)/2]) },
		"a certificate that has ended": func() {
			f.putPair(t, authority.issue("old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))
		},
	} {
		before, failures := logged.count("cannot be used"), sample(t, c, "tokenbroker_tls_reload_failures_total")
		spoil()
		for range 3 {
			if err := c.Reload(); err == nil {
				t.Errorf("%s was taken", what)
			}
		}
		if n := logged.count("cannot be used") - before; n != 1 {
			t.Errorf("%s is logged %d times", what, n)
		}
		if n := sample(t, c, "tokenbroker_tls_reload_failures_total") - failures; n != 3 {
			t.Errorf("%s: %v failures are counted", what, n)
		}
		if got := shownBy(t, l, shown(authority, nil)); !got.Equal(first.cert) {
			t.Errorf("%s: %v is shown", what, got.Subject)
		}
		f.putPair(t, first)
		put(t, f.authorities, authority.certPEM())
		if err := c.Reload(); err != nil {
			t.Errorf("after %s: %v", what, err)
		}
	}
	if n := logged.count("reloaded"); n != 0 {
		t.Errorf("reloaded %d times although nothing has changed", n)
	}
}

func remove(tb testing.TB, path string) {
	tb.Helper()
	if err := os.Remove(path); err != nil {
		tb.Fatal(err)
	}
}

func TestFilesThatCannotBeUsedAreReportedAtTheStart(t *testing.T) {
	authority := newAuthority(t, "authority")
	f := newFiles(t, authority.issue("broker"), authority)
	for what, cfg := range map[string]transport.Config{
		"a server needs":     {CertFile: f.cert},
		"cannot be required": {CertFile: f.cert, KeyFile: f.key, RequireClient: true},
		"no pair":            {CertFile: f.cert, KeyFile: f.cert},
		"cert_file":          {CertFile: f.key, KeyFile: f.key},
		"key_file":           {CertFile: f.cert, KeyFile: f.key + ".none"},
		"client_ca_file":     {CertFile: f.cert, KeyFile: f.key, ClientCAFile: f.key},
	} {
		if _, err := transport.Open(cfg); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Kubernetes replaces a symbolic link to a folder, and nothing else.
func TestTheFilesAreFollowedThroughSymbolicLinks(t *testing.T) {
	authority := newAuthority(t, "authority")
	dir := t.TempDir()
	lay := func(version string, server *issuer) {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, version, "tls.crt"), server.certPEM())
		put(t, filepath.Join(dir, version, "tls.key"), server.keyPEM())
		next := filepath.Join(dir, "..data_tmp")
		if err := errors.Join(os.Symlink(version, next), os.Rename(next, filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	first, second := authority.issue("first"), authority.issue("second")
	lay("..1", first)
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := open(t, files{cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key")})
	l := listenTCP(t)
	serve(t, c, l)
	lay("..2", second)
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := shownBy(t, l, shown(authority, nil)); !got.Equal(second.cert) {
		t.Errorf("%v is shown", got.Subject)
	}
}

func TestRunNoticesNewFilesAndWarnsOfTheEndOfTheCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := newAuthority(t, "authority")
		ends := func(after time.Duration) func(*x509.Certificate) {
			return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(after).Truncate(time.Second) }
		}
		day := 24 * time.Hour
		first := authority.issue("first", ends(14*day+time.Hour))
		f := newFiles(t, first, authority)
		var logged log
		c := open(t, f, logged.into)
		var running sync.WaitGroup
		running.Go(func() { _ = c.Run(t.Context()) })
		t.Cleanup(running.Wait)
		expires := func(want *issuer) {
			t.Helper()
			if got := sample(t, c, "tokenbroker_tls_certificate_expiry_timestamp_seconds"); got != float64(want.cert.NotAfter.Unix()) {
				t.Errorf("the certificate ends at %v, the metric says %v", want.cert.NotAfter.Unix(), got)
			}
		}
		expect := func(after time.Duration, warnings, ended, reloads int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if w, e, r := logged.count("expires soon"), logged.count("has expired"), logged.count("reloaded"); w != warnings || e != ended || r != reloads {
				t.Errorf("%d warnings, %d of the end, %d reloads; want %d, %d, %d", w, e, r, warnings, ended, reloads)
			}
		}
		expires(first)
		expect(30*time.Minute, 0, 0, 0)
		expect(time.Hour, 1, 0, 0)
		expect(12*time.Hour, 1, 0, 0)
		expect(12*time.Hour, 2, 0, 0)
		second := authority.issue("second", ends(time.Hour))
		f.putPair(t, second)
		expect(6*time.Second, 3, 0, 1)
		expires(second)
		// At a start there may be nothing better than one that has ended.
		f.putPair(t, authority.issue("third", ends(-time.Minute)))
		late := open(t, f, logged.into)
		running.Go(func() { _ = late.Run(t.Context()) })
		expect(time.Second, 3, 1, 1)
	})
}

// A ticket would prove who the caller was, and not who it is.
func TestNoSessionIsResumed(t *testing.T) {
	authority := newAuthority(t, "authority")
	c := open(t, newFiles(t, authority.issue("broker"), authority))
	l := listenTCP(t)
	serve(t, c, l)
	cfg := shown(authority, authority.issue("shop"))
	cfg.NextProtos, cfg.ClientSessionCache = []string{"h2"}, tls.NewLRUClientSessionCache(4)
	for range 3 {
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 9)); err != nil { // the server's first frame, after which tickets would have come
			t.Fatal(err)
		}
		if secured, ok := conn.(*tls.Conn); !ok || secured.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
		conn.Close()
	}
}

func TestOnlyTLS13AndOnlyHTTP2AreTakenByGRPC(t *testing.T) {
	authority := newAuthority(t, "authority")
	c := open(t, newFiles(t, authority.issue("broker"), authority))
	l := listenTCP(t)
	serve(t, c, l)
	for what, change := range map[string]func(*tls.Config){
		"TLS 1.2":  func(cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
		"HTTP/1.1": func(cfg *tls.Config) { cfg.NextProtos = []string{"http/1.1"} },
		"no ALPN":  func(cfg *tls.Config) { cfg.NextProtos = nil },
	} {
		before := sample(t, c, "tokenbroker_tls_handshake_failures_total")
		cfg := shown(authority, nil)
		cfg.NextProtos = []string{"h2"}
		change(cfg)
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err == nil {
			if _, err = io.ReadFull(conn, make([]byte, 9)); err == nil {
				t.Errorf("%s was taken", what)
			}
			conn.Close()
		}
		for sample(t, c, "tokenbroker_tls_handshake_failures_total") != before+1 {
			if t.Context().Err() != nil {
				t.Fatalf("%s is not counted", what)
			}
			runtime.Gosched() // the server counts after it has told the client
		}
	}
}

func TestCertificatesOfCallersAreVerified(t *testing.T) {
	authority, other := newAuthority(t, "authority"), newAuthority(t, "other")
	f := newFiles(t, authority.issue("broker"), authority)
	good := authority.issue("shop")
	for _, tc := range []struct {
		what           string
		client         *issuer
		required, open bool
	}{
		{"a good one", good, true, true},
		{"none where none is required", nil, false, true},
		{"none", nil, true, false},
		{"one of another authority", other.issue("shop"), false, false},
		{"one that has ended", authority.issue("shop", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), false, false},
		{"one for servers", authority.issue("shop", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), false, false},
	} {
		l := listenTCP(t)
		d := serve(t, open(t, f, func(c *transport.Config) { c.RequireClient = tc.required }), l)
		client, _ := caller(t, l, shown(authority, tc.client))
		_, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{})
		if (err == nil) != tc.open {
			t.Errorf("%s: %v", tc.what, err)
		}
		if err == nil && (d.origin.Certificate != nil) != (tc.client != nil) || d.origin.Certificate != nil && !d.origin.Certificate.Equal(tc.client.cert) {
			t.Errorf("%s: the origin has %v", tc.what, d.origin.Certificate)
		}
	}
}

func TestWhenAnAuthorityIsTakenBackItsCallersAreClosedAndNoOthers(t *testing.T) {
	kept, gone := newAuthority(t, "kept"), newAuthority(t, "gone")
	f := newFiles(t, kept.issue("broker"), kept)
	put(t, f.authorities, kept.certPEM(), gone.certPEM())
	var logged log
	c := open(t, f, logged.into)
	l := listenTCP(t)
	serve(t, c, l)
	streams := map[*issuer]healthpb.Health_WatchClient{}
	for _, authority := range []*issuer{kept, gone} {
		client, _ := caller(t, l, shown(kept, authority.issue("shop")))
		stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		streams[authority] = stream
	}
	put(t, f.authorities, kept.certPEM())
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := streams[gone].Recv(); err != nil {
			break
		}
	}
	for range 3 {
		if _, err := streams[kept].Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if logged.count("closed connections") != 1 || logged.count("connections=1") != 1 {
		t.Error(logged.String())
	}
}

// Who renews an authority often keeps its key.
func TestACallerOfAnAuthorityThatWasRenewedStays(t *testing.T) {
	first := newAuthority(t, "authority")
	renewed := (&issuer{tb: t}).certify(first.key, "authority", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.SubjectKeyId = true, true, x509.KeyUsageCertSign, first.cert.SubjectKeyId
	})
	f := newFiles(t, first.issue("broker"), first)
	c := open(t, f)
	l := listenTCP(t)
	d := serve(t, c, l)
	client, conn := caller(t, l, shown(first, first.issue("shop")))
	if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	put(t, f.authorities, renewed.certPEM())
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || d.origin.Certificate == nil {
		t.Errorf("%v; the connection is %v", err, conn.GetState())
	}
}

// The connection must not outlive the certificate, and the caller must get the chance to come back with a newer one.
func TestTheConnectionOfACallerIsClosedBeforeItsCertificateEnds(t *testing.T) {
	authority := newAuthority(t, "authority")
	f := newFiles(t, authority.issue("broker"), authority)
	c := open(t, f)
	l := listenTCP(t)
	d := serve(t, c, l)
	soon := authority.issue("shop", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(8 * time.Second) })
	cfg := shown(authority, nil)
	var mu sync.Mutex
	now := soon
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		return &tls.Certificate{Certificate: [][]byte{now.cert.Raw}, PrivateKey: now.key}, nil
	}
	client, _ := caller(t, l, cfg)
	stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	now = authority.issue("shop")
	mu.Unlock()
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{}, waitForReady); err != nil || !d.origin.Certificate.Equal(now.cert) {
		t.Errorf("%v, with %v", err, d.origin.Certificate.NotAfter)
	}
}

// A call that arrives before the connection is closed is refused, too.
func TestACallWithACertificateThatHasEndedIsRefused(t *testing.T) {
	authority := newAuthority(t, "authority")
	f := newFiles(t, authority.issue("broker"), authority)
	l := listenTCP(t)
	d := serve(t, open(t, f), l)
	end := time.Now().Add(8 * time.Second)
	client, _ := caller(t, l, shown(authority, authority.issue("shop", func(c *x509.Certificate) { c.NotAfter = end })))
	var err error
	if _, err = client.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil && time.Now().Before(end) {
		t.Fatal(err)
	}
	for err == nil {
		_, err = client.Check(t.Context(), &healthpb.HealthCheckRequest{})
	}
	if !errors.Is(d.err, access.ErrUnauthenticated) || time.Now().Before(end.Truncate(time.Second)) {
		t.Errorf("at %v of %v: %v", time.Now(), end, err)
	}
}
