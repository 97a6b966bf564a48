package tokenbroker_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/certtest"
)

// witness is a broker that answers with who is calling, in the place of a token.
type witness struct {
	tokenbrokerv1.UnimplementedTokenBrokerServiceServer
}

func (witness) GetToken(ctx context.Context, req *tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
	who := strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), ",")
	if p, _ := peer.FromContext(ctx); p != nil {
		if secure, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			for _, c := range secure.State.PeerCertificates {
				who = strings.TrimSpace(c.Subject.CommonName + " " + who)
			}
		}
	}
	if who == "" {
		who = "nobody"
	}
	return &tokenbrokerv1.GetTokenResponse{Token: &tokenbrokerv1.Token{
		Name: req.GetName(), AccessToken: who, Version: 1, State: tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, Ttl: durationpb.New(time.Hour),
	}}, nil
}

// serve serves a witness on a loopback port until the returned function is called, or the test ends.
func serve(t *testing.T, address string, creds credentials.TransportCredentials) (string, func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(creds))
	tokenbrokerv1.RegisterTokenBrokerServiceServer(s, witness{})
	healthy := health.NewServer()
	healthy.SetServingStatus(tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(s, healthy)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	stop := func() { s.Stop() }
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), stop
}

// serverSide is what a broker shows, and whom it lets in.
func serverSide(t *testing.T, pair certtest.Pair, clients *certtest.Authority) credentials.TransportCredentials {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	if clients != nil {
		pem, err := os.ReadFile(clients.File)
		if err != nil {
			t.Fatal(err)
		}
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		cfg.ClientCAs.AppendCertsFromPEM(pem)
	}
	return credentials.NewTLS(cfg)
}

// asks returns whom the brokers take a new client for.
func asks(t *testing.T, target string, options ...tokenbroker.Option) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := tokenbroker.New(ctx, target, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	token, err := client.Token(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return token.Value()
}

// copyTo replaces one file by another in one step.
func copyTo(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

func TestFilesOfACallerAreReadAnewForEachConnection(t *testing.T) {
	first, second := certtest.New(t), certtest.New(t)
	here := certtest.Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}
	address, stop := serve(t, "127.0.0.1:0", serverSide(t, first.Issue(t, here), first))

	dir := t.TempDir()
	files := tokenbroker.TLSFiles{
		CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"),
	}
	place := func(a *certtest.Authority, name string) {
		pair := a.Issue(t, certtest.Leaf{CommonName: name})
		copyTo(t, a.File, files.CAFile)
		copyTo(t, pair.Cert, files.CertFile)
		copyTo(t, pair.Key, files.KeyFile)
	}
	place(first, "one")
	creds, err := files.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	who := func() string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := tokenbrokerv1.NewTokenBrokerServiceClient(conn).GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: "shop"}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		return r.GetToken().GetAccessToken()
	}
	if got := who(); got != "one" {
		t.Errorf("the first connection was made by %q", got)
	}
	if got := asks(t, address, tokenbroker.WithTLSFiles(files)); got != "one" {
		t.Errorf("the SDK's connection was made by %q", got)
	}

	stop() // and all comes back under another authority, with another certificate for this caller
	if !conn.WaitForStateChange(t.Context(), connectivity.Ready) {
		t.Fatal("the connection outlives the server")
	}
	place(second, "two")
	serve(t, address, serverSide(t, second.Issue(t, here), second))
	if got := who(); got != "two" {
		t.Errorf("after the files were replaced the connection was made by %q", got)
	}
}

func TestABrokerIsBelievedUnderTheNameOfItsTargetOrTheOneGiven(t *testing.T) {
	a := certtest.New(t)
	address, _ := serve(t, "127.0.0.1:0", serverSide(t, a.Issue(t, certtest.Leaf{DNS: []string{"broker.example.org"}}), nil))
	files := tokenbroker.TLSFiles{CAFile: a.File, ServerName: "broker.example.org"}
	cfg, err := files.Config()
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{address, address + ",127.0.0.1:1"} {
		for how, option := range map[string]tokenbroker.Option{"files": tokenbroker.WithTLSFiles(files), "a configuration": tokenbroker.WithTLS(cfg)} {
			if got := asks(t, target, option); got != "nobody" {
				t.Errorf("at %s by %s, a caller without credentials was taken for %q", target, how, got)
			}
		}
	}
	creds, err := tokenbroker.TLSFiles{CAFile: a.File}.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = tokenbrokerv1.NewTokenBrokerServiceClient(conn).GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: "shop"})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "x509: ") {
		t.Errorf("by an address that its certificate has not, the broker answered: %v", err)
	}
}

func TestTheBearerFileIsReadForEachCall(t *testing.T) {
	a := certtest.New(t)
	pair := a.Issue(t, certtest.Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	address, _ := serve(t, "127.0.0.1:0", serverSide(t, pair, nil))
	file := filepath.Join(t.TempDir(), "token")
	replace := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secure := tokenbroker.WithTLSFiles(tokenbroker.TLSFiles{CAFile: a.File})
	replace("first\n")
	if got := asks(t, address, secure, tokenbroker.WithBearerFile(file)); got != "Bearer first" {
		t.Errorf("the brokers were told %q", got)
	}

	bearer := tokenbroker.BearerFile{Path: file}
	for text, want := range map[string]string{"second": "Bearer second", "third\r\n": "Bearer third"} {
		replace(text)
		if got, err := bearer.GetRequestMetadata(t.Context()); err != nil || got["authorization"] != want {
			t.Errorf("of %q came %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n", "two secrets", "secret\nsecret", "sécret"} {
		replace(text)
		if got, err := bearer.GetRequestMetadata(t.Context()); err == nil || strings.Contains(err.Error(), "cret") {
			t.Errorf("of %q came %v, %v", text, got, err)
		}
	}
	replace(strings.Repeat("x", 2<<20))
	if _, err := bearer.GetRequestMetadata(t.Context()); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("of a file without end came %v", err)
	}
}

func TestABearerTokenLeavesTheMachineEncryptedOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	address, _ := serve(t, "127.0.0.1:0", insecure.NewCredentials())
	if got := asks(t, address, tokenbroker.WithBearerFile(file)); got != "Bearer mine" {
		t.Errorf("on this machine the broker was told %q", got)
	}
	for _, target := range []string{"broker.example.org:7700", "127.0.0.1:7700,10.0.0.1:7700"} {
		_, err := tokenbroker.New(t.Context(), target, tokenbroker.WithInsecure(), tokenbroker.WithBearerFile(file))
		if err == nil || !strings.Contains(err.Error(), "WithTLS") {
			t.Errorf("in the clear to %s: %v", target, err)
		}
	}
}

func TestFilesThatCannotBeUsedAreToldOfAtOnce(t *testing.T) {
	a := certtest.New(t)
	pair, other := a.Issue(t, certtest.Leaf{}), a.Issue(t, certtest.Leaf{})
	nothing := filepath.Join(t.TempDir(), "nothing")
	for _, c := range []struct {
		files tokenbroker.TLSFiles
		want  string
	}{
		{tokenbroker.TLSFiles{CAFile: nothing}, nothing},
		{tokenbroker.TLSFiles{CAFile: pair.Key}, "no certificate"},
		{tokenbroker.TLSFiles{CertFile: pair.Cert}, "a certificate needs a key"},
		{tokenbroker.TLSFiles{KeyFile: pair.Key}, "a certificate needs a key"},
		{tokenbroker.TLSFiles{CertFile: pair.Cert, KeyFile: other.Key}, "does not match"},
		{tokenbroker.TLSFiles{CertFile: pair.Cert, KeyFile: nothing}, nothing},
	} {
		if _, err := tokenbroker.New(t.Context(), "broker.example.org:7700", tokenbroker.WithTLSFiles(c.files)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("of %+v: %v, want it to tell of %q", c.files, err, c.want)
		}
	}
	if _, err := (tokenbroker.BearerFile{Path: nothing}).GetRequestMetadata(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a file that is not there: %v", err)
	}
}
