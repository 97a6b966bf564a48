package gateway_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/gateway"
	"github.com/tokenbroker/tokenbroker/internal/transport"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/certtest"
)

// desk takes the gateway's calls as a server would that asks everybody who they are, and notes where they come from.
type desk struct {
	mu      sync.Mutex
	origins []access.Origin
	err     error
}

// origin is what the server makes of a call's metadata on a connection in memory.
func (d *desk) arrived(ctx context.Context) error {
	md, _ := metadata.FromOutgoingContext(ctx)
	ctx = metadata.NewIncomingContext(peer.NewContext(ctx, &peer.Peer{Addr: memory{}, LocalAddr: memory{}}), md)
	o, err := transport.OriginOf(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.origins, d.err = append(d.origins, o), errors.Join(d.err, err)
	return err
}

// memory is the address of a connection in memory.
type memory struct{}

func (memory) Network() string { return "bufconn" }
func (memory) String() string  { return "bufconn" }

// Invoke answers with the account's tokens, those that the client may have by its own list only.
func (d *desk) Invoke(ctx context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	if err := d.arrived(ctx); err != nil {
		return status.Error(codes.Unauthenticated, err.Error())
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	switch m := reply.(type) {
	case *tokenbrokerv1.ListTokensResponse:
		for _, name := range md.Get("tokenbroker-origin-client") {
			if slices.Contains(md.Get("authorization"), "Bearer nobody") {
				break // the strictest rule
			}
			m.Tokens = append(m.Tokens, &tokenbrokerv1.Token{Name: "of." + name, AppId: appid, Upstream: "wechat stable"})
		}
	case *tokenbrokerv1.GetTokenResponse:
		m.Token = &tokenbrokerv1.Token{Name: "a", AccessToken: "SECRET", AppId: appid, Upstream: "wechat stable", Ttl: durationpb.New(time.Hour)}
	}
	return nil
}

// NewStream refuses after having looked.
func (d *desk) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := d.arrived(ctx); err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return nil, status.Error(codes.Unavailable, "no streams here")
}

// seen returns the origins of the calls since it was asked last, of which there must be some, and all must have one.
func (d *desk) seen(t *testing.T) []access.Origin {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.origins) == 0 || d.err != nil {
		t.Fatalf("%d calls arrived; %v", len(d.origins), d.err)
	}
	defer func() { d.origins = nil }()
	return d.origins
}

// run serves a gateway until the test ends, and returns its address.
func run(t *testing.T, cfg gateway.Config) string {
	t.Helper()
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Run(ctx, l) })
	t.Cleanup(func() { stop(); running.Wait() })
	return l.Addr().String()
}

// secured opens the certificates of a server, and settings for callers who show a pair.
func secured(t *testing.T, a *certtest.Authority, pair *certtest.Pair, changes ...func(*transport.Config)) (*transport.Certificates, *tls.Config) {
	t.Helper()
	own := a.Issue(t, certtest.Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	cfg := transport.Config{CertFile: own.Cert, KeyFile: own.Key, ClientCAFile: a.File}
	for _, change := range changes {
		change(&cfg)
	}
	c, err := transport.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(a.File)
	if err != nil {
		t.Fatal(err)
	}
	client := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	client.RootCAs.AppendCertsFromPEM(pem)
	if pair != nil {
		cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		client.Certificates = []tls.Certificate{cert}
	}
	return c, client
}

// browse makes a client that is forgotten with the test.
func browse(t *testing.T, cfg *tls.Config) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// fetch makes a request and returns the answer and its body.
func fetch(t *testing.T, c *http.Client, method, url, body string, headers ...string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp, string(text)}
}

// paths are all kinds of requests that make calls.
var paths = []struct{ method, path, body string }{
	{"GET", "/v1/tokens/a", ""},
	{"GET", "/v1/tokens", ""},
	{"GET", "/v1/status", ""},
	{"GET", "/v1/tokens/a:watch", ""},
	{"POST", "/v1/tokens/a:reportInvalid", `{"version":"1"}`},
	{"POST", "/cgi-bin/stable_token", goodBody},
}

var clients = gateway.NewClients([]gateway.Client{
	{Name: "till", SecretSHA256: sha256.Sum256([]byte(secret)), Tokens: []string{"of.till"}},
	{Name: "shop", SecretSHA256: sha256.Sum256([]byte("other-secret")), Tokens: []string{"of.shop"}},
})

func TestServerLearnsOfAWrongSecretAndOfWhoBroughtIt(t *testing.T) {
	d := &desk{}
	address := run(t, gateway.Config{Conn: d, Admission: clients})
	client := browse(t, nil)
	for n, body := range []string{goodBody, strings.Replace(goodBody, secret, "guess", 1)} {
		resp := fetch(t, client, "POST", "http://"+address+"/cgi-bin/stable_token", body)
		d.mu.Lock()
		wrong, last := n == 1, d.origins[len(d.origins)-1]
		if errors.Is(d.err, access.ErrUnauthenticated) != wrong || strings.Contains(resp.body, `"errcode":40125`) != wrong {
			t.Errorf("%s: the server says %v", resp.body, d.err)
		}
		if host, _, _ := net.SplitHostPort(last.Peer); host != "127.0.0.1" || wrong && last.Client != "" {
			t.Errorf("it comes from %+v", last)
		}
		d.mu.Unlock()
	}
}

func TestEachCallSaysWhereItsRequestCameFrom(t *testing.T) {
	d := &desk{}
	a := certtest.New(t)
	pair := a.Issue(t, certtest.Leaf{CommonName: "shop"})
	certificates, cfg := secured(t, a, &pair)
	for _, scheme := range []string{"http", "https"} {
		front := gateway.Config{Conn: d, Admission: clients}
		if scheme == "https" {
			front.Certificates = certificates
		}
		address := run(t, front)
		client := browse(t, cfg)
		for _, p := range paths {
			resp := fetch(t, client, p.method, scheme+"://"+address+p.path, p.body, "X-Forwarded-For", "192.0.2.1", "Authorization", "Bearer abc")
			for _, o := range d.seen(t) {
				if !strings.HasPrefix(o.Peer, "127.0.0.1:") || o.Bearer.Reveal() != "abc" || (o.Certificate != nil) != (scheme == "https") ||
					(o.Client == "till") != strings.HasPrefix(p.path, "/cgi-bin/") {
					t.Errorf("%s %s: %+v (%d %s)", scheme, p.path, o, resp.StatusCode, resp.body)
				}
				if o.Certificate != nil && o.Certificate.Subject.CommonName != "shop" {
					t.Errorf("the certificate is of %v", o.Certificate.Subject)
				}
			}
		}
	}
}

// What one client's list shows may be less than what another's does.
func TestNoClientIsAnsweredByTheListOfAnother(t *testing.T) {
	client := browse(t, nil)
	url := "http://" + run(t, gateway.Config{Conn: &desk{}, Admission: clients}) + "/cgi-bin/stable_token"
	for range 2 {
		for _, s := range []string{secret, "other-secret"} {
			if resp := fetch(t, client, "POST", url, strings.ReplaceAll(goodBody, secret, s)); !strings.Contains(resp.body, "access_token") {
				t.Errorf("with %s: %s", s, resp.body)
			}
		}
	}
}

func TestListOfWhoMaySeeLessIsNotThatOfTheClient(t *testing.T) {
	d := &desk{}
	address := run(t, gateway.Config{Conn: d, Admission: clients})
	client := browse(t, nil)
	for range 2 {
		for header, want := range map[string]string{"Bearer nobody": `"errcode":40013`, "Bearer abc": `"access_token":"SECRET"`} {
			if resp := fetch(t, client, "POST", "http://"+address+"/cgi-bin/stable_token", goodBody, "Authorization", header); !strings.Contains(resp.body, want) {
				t.Errorf("%s: %s", header, resp.body)
			}
		}
	}
}

func TestTwoAuthorizationsAreNotOne(t *testing.T) {
	d := &desk{}
	url := "http://" + run(t, gateway.Config{Conn: d}) + "/v1/tokens"
	resp := fetch(t, browse(t, nil), "GET", url, "", "Authorization", "Bearer a", "Authorization", "Bearer b")
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d %s", resp.StatusCode, resp.body)
	}
}

func TestTheGatewaySpeaksBothVersionsOfHTTPOverTLS13Only(t *testing.T) {
	certificates, cfg := secured(t, certtest.New(t), nil)
	address := run(t, gateway.Config{Conn: &desk{}, Certificates: certificates})
	for _, protos := range [][]string{{"h2"}, {"http/1.1"}, nil} {
		own := cfg.Clone()
		own.NextProtos = protos
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: own, ForceAttemptHTTP2: slices.Contains(protos, "h2")}}
		resp := fetch(t, client, "GET", "https://"+address+"/v1/tokens/a", "")
		if resp.StatusCode != http.StatusOK || resp.TLS.Version != tls.VersionTLS13 || (resp.ProtoMajor == 2) != slices.Contains(protos, "h2") {
			t.Errorf("%v: %s %x: %d %s", protos, resp.Proto, resp.TLS.Version, resp.StatusCode, resp.body)
		}
		client.CloseIdleConnections()
	}
	cfg.MaxVersion = tls.VersionTLS12
	if conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", address); err == nil {
		conn.Close()
		t.Error("TLS 1.2 was taken")
	}
}

// By TLS a name stands in the certificate, and a page of another site has none.
func TestByTLSAnyHostWillDoOnLoopback(t *testing.T) {
	certificates, cfg := secured(t, certtest.New(t), nil)
	address := run(t, gateway.Config{Conn: &desk{}, Certificates: certificates})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/v1/tokens", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "broker.example"
	resp, err := browse(t, cfg).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%s", resp.Status)
	}
}

func TestARequestOfAnAuthorityThatWasTakenBackIsRefused(t *testing.T) {
	d := &desk{}
	a, next := certtest.New(t), certtest.New(t)
	pair := a.Issue(t, certtest.Leaf{CommonName: "shop"})
	var authorities string
	certificates, cfg := secured(t, a, &pair, func(c *transport.Config) {
		authorities = t.TempDir() + "/ca.pem"
		copyFile(t, c.ClientCAFile, authorities)
		c.ClientCAFile = authorities
	})
	url := "https://" + run(t, gateway.Config{Conn: d, Certificates: certificates}) + "/v1/tokens"
	client := browse(t, cfg)
	if resp := fetch(t, client, "GET", url, ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, resp.body)
	}
	copyFile(t, next.File, authorities)
	if err := certificates.Reload(); err != nil {
		t.Fatal(err)
	}
	resp := fetch(t, client, "GET", url, "")
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d %s", resp.StatusCode, resp.body)
	}
	if resp, err := client.Get(url); err == nil { //nolint:noctx // it must fail
		resp.Body.Close()
		t.Errorf("a new connection was taken: %s", resp.Status)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAConnectionThatIsOldIsEndedAfterItsAnswer(t *testing.T) {
	certificates, cfg := secured(t, certtest.New(t), nil)
	for _, age := range []time.Duration{time.Nanosecond, time.Hour} {
		address := run(t, gateway.Config{Conn: &desk{}, Certificates: certificates, MaxConnectionAge: age})
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.Close != (age == time.Nanosecond) {
			t.Errorf("with an age of %v the connection closes: %v", age, resp.Close)
		}
	}
}
