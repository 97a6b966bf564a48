package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/server"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/certtest"
)

// onLoopback is a certificate of a broker on this machine.
var onLoopback = certtest.Leaf{DNS: []string{"broker-1.example.org"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}

// serverTLS is what a broker shows, and of whom it wants a certificate; of nobody, if clients is nil.
func serverTLS(t *testing.T, pair certtest.Pair, clients *certtest.Authority) *tls.Config {
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
	return cfg
}

// strict has a broker answer only to who shows a certificate of this name and says this bearer token.
func strict(name, bearer string) []grpc.ServerOption {
	check := func(ctx context.Context) error {
		p, _ := peer.FromContext(ctx)
		secure, ok := p.AuthInfo.(credentials.TLSInfo)
		if !ok || secure.State.PeerCertificates[0].Subject.CommonName != name {
			return status.Error(codes.Unauthenticated, "the certificate is another's")
		}
		if got := strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), ","); got != bearer {
			return status.Errorf(codes.Unauthenticated, "the token is %q", got)
		}
		return nil
	}
	return []grpc.ServerOption{
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := check(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := check(s.Context()); err != nil && !strings.Contains(info.FullMethod, "Health") {
				return err
			}
			return next(srv, s)
		}),
	}
}

// ranWith is what came of one command line.
type ranWith struct {
	out, err string
	code     int
}

// runWith runs a command line with this environment.
func runWith(t *testing.T, env map[string]string, args ...string) ranWith {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), args, console{
		in: strings.NewReader(""), out: &out, err: &errs, env: fakeEnvironment(env), now: func() time.Time { return noon },
	})
	return ranWith{out.String(), errs.String(), code}
}

func obligingBroker() *fakeBroker {
	return &fakeBroker{
		get: func(*tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
			return &tokenbrokerv1.GetTokenResponse{Token: shopToken()}, nil
		},
		watch: func(s tokenbrokerv1.TokenBrokerService_WatchTokenServer) error {
			if err := s.Send(&tokenbrokerv1.WatchTokenResponse{Token: shopToken()}); err != nil {
				return err
			}
			return status.Error(codes.NotFound, "and that was all")
		},
		report: func(*tokenbrokerv1.ReportInvalidTokenRequest) (*tokenbrokerv1.ReportInvalidTokenResponse, error) {
			return &tokenbrokerv1.ReportInvalidTokenResponse{Token: shopToken()}, nil
		},
		refresh: func(*tokenbrokerv1.RefreshTokenRequest) (*tokenbrokerv1.RefreshTokenResponse, error) {
			return &tokenbrokerv1.RefreshTokenResponse{Token: shopToken()}, nil
		},
		list:   &tokenbrokerv1.ListTokensResponse{},
		status: &tokenbrokerv1.GetStatusResponse{Leader: &tokenbrokerv1.Leader{Id: "r1"}, Replica: &tokenbrokerv1.ReplicaStatus{Id: "r1", InSync: true}},
	}
}

// secretFile returns a file that holds a text.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each command, told by flags and told by the environment.
func TestEveryCommandShowsItsCertificateAndItsToken(t *testing.T) {
	a := certtest.New(t)
	address := obligingBroker().start(t, append(strict("me", "Bearer my-own"), grpc.Creds(credentials.NewTLS(serverTLS(t, a.Issue(t, onLoopback), a))))...)
	me, bearer := a.Issue(t, certtest.Leaf{CommonName: "me"}), secretFile(t, "my-own\n")
	env := map[string]string{
		serverVariable: address, caVariable: a.File, certVariable: me.Cert, keyVariable: me.Key, bearerVariable: bearer,
	}
	flags := []string{"--server", address, "--ca-file", a.File, "--cert-file", me.Cert, "--key-file", me.Key, "--bearer-token-file", bearer}
	for _, line := range []string{
		"get shop", "list", "report-invalid shop --version 16", "status", "refresh shop", "resign", "healthcheck", "watch shop",
	} {
		args := strings.Fields(line)
		want := 0
		if args[0] == "watch" {
			want = exitNotFound // is how this one ends
		}
		if got := runWith(t, nil, append(args, flags...)...); got.code != want {
			t.Errorf("%s by flags: exit code %d\n%s%s", line, got.code, got.out, got.err)
		}
		if got := runWith(t, env, args...); got.code != want {
			t.Errorf("%s by the environment: exit code %d\n%s%s", line, got.code, got.out, got.err)
		}
	}
	if got := runWith(t, nil, append([]string{"exec", "--token", "shop=WX"}, append(flags, "--", "no-such-command-anywhere")...)...); got.code != exitNoCommand {
		t.Errorf("exec: %+v", got)
	}
	delete(env, bearerVariable)
	got := runWith(t, env, "get", "shop")
	if got.code != exitUnknown || !strings.Contains(got.err, "UNAUTHENTICATED") {
		t.Errorf("without a token: %+v", got)
	}
}

func TestAConnectionThatFailsSaysWhyAndWhatToDo(t *testing.T) {
	a, other := certtest.New(t), certtest.New(t)
	here := a.Issue(t, onLoopback)
	ended := onLoopback
	ended.Ended = true
	secure := func(pair certtest.Pair, clients *certtest.Authority) string {
		return obligingBroker().start(t, grpc.Creds(credentials.NewTLS(serverTLS(t, pair, clients))))
	}
	open, wanting := secure(here, nil), secure(here, a)
	plain := obligingBroker().start(t)
	lapsed, stranger := a.Issue(t, certtest.Leaf{CommonName: "me", Ended: true}), other.Issue(t, certtest.Leaf{CommonName: "me"})
	old := serverTLS(t, here, nil)
	old.MinVersion, old.MaxVersion = 0, tls.VersionTLS12

	type attempt struct {
		address string
		args    []string
		want    []string
	}
	attempts := map[string]attempt{
		"plaintext to a server with TLS":   {open, nil, []string{"it encrypts, presumably", "give --ca-file"}},
		"TLS to a server in plaintext":     {plain, []string{"--ca-file", a.File}, []string{"the server does not encrypt", "see that it is the right port"}},
		"another authority":                {open, []string{"--ca-file", other.File}, []string{"an authority that is not known here", "give --ca-file"}},
		"the system's authorities":         {open, []string{"--tls"}, []string{"an authority that is not known here", "give --ca-file"}},
		"the broker's certificate ended":   {secure(a.Issue(t, ended), nil), []string{"--ca-file", a.File}, []string{"is out of date", "renew the broker's"}},
		"another name":                     {open, []string{"--ca-file", a.File, "--server-name", "broker-2.example.org"}, []string{"for another name", "broker-1.example.org", "--server-name"}},
		"another address":                  {secure(a.Issue(t, certtest.Leaf{DNS: []string{"broker-1"}}), nil), []string{"--ca-file", a.File}, []string{"is for names only", "--server-name"}},
		"no name":                          {secure(a.Issue(t, certtest.Leaf{}), nil), []string{"--ca-file", a.File, "--server-name", "x"}, []string{"for no name at all", "issue it anew"}},
		"no certificate":                   {wanting, []string{"--ca-file", a.File}, []string{"--cert-file and --key-file"}},
		"a certificate that ended":         {wanting, []string{"--ca-file", a.File, "--cert-file", lapsed.Cert, "--key-file", lapsed.Key}, []string{"ertificate", "--cert-file"}},
		"a certificate of somebody else's": {wanting, []string{"--ca-file", a.File, "--cert-file", stranger.Cert, "--key-file", stranger.Key}, []string{"ertificate", "--cert-file"}},
		"a server of before TLS 1.3":       {obligingBroker().start(t, grpc.Creds(credentials.NewTLS(old))), []string{"--ca-file", a.File}, []string{"does not speak TLS 1.3", "see that it is a broker"}},
		"nobody there":                     {closedPort(t), []string{"--ca-file", a.File}, []string{"connection refused", "name a broker by --server"}},
	}
	var running sync.WaitGroup // all of them wait for the same time
	for name, c := range attempts {
		running.Go(func() {
			got := runWith(t, map[string]string{serverVariable: c.address}, append([]string{"get", "shop", "--timeout", "3s"}, c.args...)...)
			if got.code != exitUnavailable {
				t.Errorf("%s: exit code %d", name, got.code)
			}
			for _, want := range c.want {
				if !strings.Contains(got.err, want) {
					t.Errorf("%s: it does not say %q:\n%s", name, want, got.err)
				}
			}
		})
	}
	running.Wait()
}

func TestNoSecretGoesToAnotherMachineInTheClear(t *testing.T) {
	bearer := secretFile(t, "my-own")
	remote := map[string]string{serverVariable: "127.0.0.1:1,10.0.0.1:7700"}
	withTLS := maps.Clone(remote)
	withTLS[caVariable] = filepath.Join(t.TempDir(), "nothing")
	socket := map[string]string{serverVariable: "unix:///run/broker/agent.sock"}
	for _, c := range []struct {
		env  map[string]string
		args string
		want string
	}{
		{remote, "get shop", "10.0.0.1:7700 is another machine"},
		{remote, "agent --listen 127.0.0.1:0", "10.0.0.1:7700 is another machine"},
		{map[string]string{serverVariable: ":7700"}, "get shop", ":7700 is another machine"},
		{remote, "get shop --plaintext --bearer-token-file " + bearer, "must not go unencrypted"},
		{map[string]string{serverVariable: "10.0.0.1:7700", bearerVariable: bearer}, "get shop --plaintext", "must not go unencrypted"},
		{remote, "get shop --plaintext --ca-file x", "--plaintext and --ca-file contradict each other"},
		{remote, "get shop --ca-file x --cert-file x", "--cert-file and --key-file belong together"},
		{map[string]string{serverVariable: "10.0.0.1:7700", tlsVariable: "yes please"}, "get shop", tlsVariable + " is neither true nor false"},
		{socket, "get shop --ca-file x", "an agent's socket is protected by its permissions"},
		{map[string]string{serverVariable: "unix:///run/a.sock,127.0.0.1:7700"}, "get shop", "cannot be mixed"},
	} {
		if got := runWith(t, c.env, strings.Fields(c.args)...); got.code != exitUsage || !strings.Contains(got.err, c.want) {
			t.Errorf("%v %s: exit code %d, want %d and %q:\n%s", c.env, c.args, got.code, exitUsage, c.want, got.err)
		}
	}
	if got := runWith(t, withTLS, "get", "shop"); got.code != exitFailed || !strings.Contains(got.err, withTLS[caVariable]) {
		t.Errorf("with a file that is not there: %+v", got)
	}
	plain := obligingBroker().start(t)
	lost := filepath.Join(t.TempDir(), "lost")
	if got := runWith(t, nil, "get", "shop", "--server", plain, "--bearer-token-file", lost); got.code != exitFailed || !strings.Contains(got.err, lost) {
		t.Errorf("with a token that is not there: %+v", got)
	}
	// The environment's authorities are those of another broker: --plaintext is said of this one.
	if got := runWith(t, withTLS, "get", "shop", "--plaintext", "--server", plain, "-o", "value"); got.out != shopValue+"\n" {
		t.Errorf("in the clear, as told: %+v", got)
	}
}

func TestWhoIsNotLetInIsToldWhatToDo(t *testing.T) {
	b := obligingBroker()
	var refusing error
	b.get = func(*tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) { return nil, refusing }
	env := map[string]string{serverVariable: b.start(t)}
	bearer := secretFile(t, "my-own")
	for _, c := range []struct {
		code   codes.Code
		reason string
		args   []string
		exit   int
		want   string
	}{
		{codes.Unauthenticated, server.ReasonUnauthenticated, nil, exitUnknown, "show who you are: --cert-file"},
		{codes.Unauthenticated, server.ReasonUnauthenticated, []string{"--bearer-token-file", bearer}, exitUnknown, "has not expired"},
		{codes.PermissionDenied, server.ReasonDenied, nil, exitDenied, "broker policy test"},
		{codes.ResourceExhausted, server.ReasonCallerLimit, nil, exitExhausted, "call less often"},
		{codes.Unavailable, server.ReasonAuditFull, nil, exitUnavailable, "free space for this one's audit log"},
		{codes.Unavailable, server.ReasonIssuerAway, nil, exitUnavailable, "why the issuer's keys cannot be got"},
	} {
		refusing = refusal(c.code, "no", &errdetails.ErrorInfo{Reason: c.reason, Domain: server.ErrorDomain})
		if got := runWith(t, env, append([]string{"get", "shop"}, c.args...)...); got.code != c.exit || !strings.Contains(got.err, c.want) {
			t.Errorf("%v %v: exit code %d, want %d and %q:\n%s", c.code, c.args, got.code, c.exit, c.want, got.err)
		}
	}
}

func TestAnAgentsSocketIsCalledAsBefore(t *testing.T) {
	dir, err := os.MkdirTemp("", "sock-") //nolint:usetesting // sockets have to fit into 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := obligingBroker()
	socket := b.startOn(t, "unix", filepath.Join(dir, "agent.sock"), grpc.UnknownServiceHandler(nil))
	env := map[string]string{serverVariable: "unix://" + socket, caVariable: "of brokers", bearerVariable: "of brokers"}
	if got := runWith(t, env, "get", "shop", "-o", "value"); got.out != shopValue+"\n" {
		t.Errorf("get: %+v", got)
	}
	got := failed("status", (&client{servers: []string{"unix://" + socket}}).callError(status.Error(codes.Unimplemented, "an agent does not serve this"), &peer.Peer{}))
	if !strings.Contains(got.text, "name it by --server host:port") {
		t.Errorf("status: %s", got.text)
	}
	b.get = func(*tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
		return nil, status.Error(codes.Unauthenticated, "the brokers refuse it to this agent")
	}
	if got := runWith(t, env, "get", "shop"); got.code != exitUnknown || !strings.Contains(got.err, "see to the agent's own --cert-file") {
		t.Errorf("get, where the agent is refused: %+v", got)
	}
}

func TestABrokerDoesNotTakeItsCallersVariablesForSettings(t *testing.T) {
	all := map[string]string{}
	for _, name := range callerVariables() {
		all[name] = "something"
	}
	_, warnings, err := loadConfig(sources{File: "broker.yaml", Data: []byte("tokens: []"), Env: fakeEnvironment(all), Dry: true})
	if text := fmt.Sprint(warnings, err); strings.Contains(text, "TOKENBROKER_") {
		t.Errorf("it says %s", text)
	}
}

func TestAProbeChecksTheCertificate(t *testing.T) {
	a := certtest.New(t)
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	web.TLS = serverTLS(t, a.Issue(t, onLoopback), a)
	web.Config.ErrorLog = nil
	web.StartTLS()
	defer web.Close()
	me := a.Issue(t, certtest.Leaf{CommonName: "kubelet"})
	// The brokers of the environment are not called, and so it does not matter how.
	env := map[string]string{serverVariable: "10.0.0.1:7700"}
	mine := []string{"healthcheck", "--http", web.URL, "--cert-file", me.Cert, "--key-file", me.Key}
	if got := runWith(t, env, append(mine, "--ca-file", a.File)...); got.code != 0 || got.out != "200 OK\n" {
		t.Errorf("with everything: %+v", got)
	}
	if got := runWith(t, env, append(mine, "--ca-file", certtest.New(t).File)...); got.code != exitFailed || !strings.Contains(got.err, "unknown authority") || !strings.Contains(got.err, "give --ca-file") {
		t.Errorf("with another authority: %+v", got)
	}
	if got := runWith(t, env, "healthcheck", "--http", strings.Replace(web.URL, "https:", "http:", 1)); !strings.Contains(got.err, "write https://") {
		t.Errorf("in plaintext: %+v", got)
	}
	if got := runWith(t, env, "healthcheck", "--http", web.URL, "--ca-file", a.File); got.code != exitFailed || !strings.Contains(got.err, "certificate required") {
		t.Errorf("without a certificate: %+v", got)
	}
}
