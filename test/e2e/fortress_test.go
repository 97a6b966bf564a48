package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// fortress is two replicas with everything switched on: TLS, every kind of credential, sealing, an audit log, snapshots, and an etcd with
// users and passwords.
type fortress struct {
	*papers
	etcd     *etcdtest.Server
	db       *clientv3.Client // as etcd's root
	wechat   *wechattest.WeChat
	replicas []*bastion
	found    *evidence

	// The credentials of callers: of whom the policy allows something, and one whom it allows nothing.
	reader, operator, outsider string // static tokens
	web, expired, forged       string // JWTs
	till                       string // a client's secret
	ops                        tls.Certificate
}

// bastion is one of its replicas.
type bastion struct {
	*process
	id, grpc, http, gateway string // host:port
	config, audit, snapshot string // files
}

const wechatClassic = "/cgi-bin/token?grant_type=client_credential&appid=wx-classic&secret="

func newFortress(t *testing.T) *fortress {
	t.Helper()
	f := &fortress{papers: newPapers(t), etcd: etcdtest.Start(t), found: newEvidence()}
	appSecret := f.secret("the AppSecret", "App+S3cret/"+rand.Text())
	etcdPassword := f.secret("the broker's password at etcd", "etcd-"+rand.Text())
	f.lockEtcd(t, etcdPassword)

	var err error
	if f.wechat, err = wechattest.New(wechattest.Config{
		Accounts:  []wechattest.Account{{AppID: "wx-stable", Secret: appSecret}, {AppID: "wx-classic", Secret: appSecret}},
		TokenLife: 10 * time.Minute, Overlap: 10 * time.Second, MinTokenSize: 512, MaxTokenSize: 1024,
	}); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(f.wechat)
	t.Cleanup(web.Close)

	f.pair(t, "server", "")
	f.ops = f.pair(t, "ops", "spiffe://example.org/ops")
	f.reader, f.operator = f.secret("the reader's token", "reader-"+rand.Text()), f.secret("the operator's token", "operator-"+rand.Text())
	f.outsider = f.secret("the outsider's token", "outsider-"+rand.Text())
	f.web, f.expired = f.jwt(t, "web", time.Hour), f.jwt(t, "late", -30*time.Minute)
	f.forged = f.web[:strings.LastIndexByte(f.web, '.')+1] + f.secret("a forged signature", base64.RawURLEncoding.EncodeToString([]byte(rand.Text()+rand.Text()+"0123456789ab")))
	f.till = f.secret("the till's secret", hashed(rand.Text())) // of the form that `broker client create` gives it
	f.write(t, "keyset", f.keyset(t))
	f.write(t, "app-secret", appSecret)
	f.write(t, "etcd-password", etcdPassword)
	f.write(t, "jwks", f.keys(t))
	f.write(t, "callers", fmt.Sprintf("reader %s\noperator %s\noutsider %s\n", hashed(f.reader), hashed(f.operator), hashed(f.outsider)))
	f.write(t, "reader-token", f.reader)
	f.write(t, "operator-token", f.operator)
	f.write(t, "outsider-token", f.outsider)
	for _, id := range []string{"east", "west"} {
		f.replicas = append(f.replicas, f.build(t, id, web.URL))
	}
	for _, b := range f.replicas {
		f.launch(t, b)
	}
	return f
}

// keyset makes a keyset as `broker keys create` does, and notes the key in it.
func (f *fortress) keyset(t *testing.T) string {
	t.Helper()
	keyset, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyset.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Key []struct {
			KeyData struct{ Value []byte }
		}
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Key) != 1 || len(file.Key[0].KeyData.Value) < 32 {
		t.Fatalf("the keyset cannot be read: %v", err)
	}
	value := file.Key[0].KeyData.Value // a message, whose last field is the key
	f.secret("the key of the keyset", string(value[len(value)-32:]))
	return string(text)
}

// lockEtcd has etcd ask for passwords. The broker's user may touch its own keys only.
func (f *fortress) lockEtcd(t *testing.T, password string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	root := f.secret("the password of etcd's root", "root-"+rand.Text())
	c := f.etcd.Client(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.RoleAdd(ctx, "root"))
	must(c.UserAdd(ctx, "root", root))
	must(c.UserGrantRole(ctx, "root", "root"))
	must(c.RoleAdd(ctx, "broker"))
	must(c.RoleGrantPermission(ctx, "broker", "/tokenbroker/", clientv3.GetPrefixRangeEnd("/tokenbroker/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(c.UserAdd(ctx, "broker", password))
	must(c.UserGrantRole(ctx, "broker", "broker"))
	must(c.AuthEnable(ctx))
	var err error
	if f.db, err = clientv3.New(clientv3.Config{Endpoints: []string{f.etcd.Endpoint()}, Username: "root", Password: root, DialTimeout: ample}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.db.Close() })
}

// build writes a replica's configuration.
func (f *fortress) build(t *testing.T, id, upstream string) *bastion {
	t.Helper()
	b := &bastion{
		id: id, grpc: etcdtest.FreeAddress(t), http: etcdtest.FreeAddress(t), gateway: etcdtest.FreeAddress(t),
		audit: f.path(id + "-audit.log"), snapshot: f.path(id + "-snapshot"),
	}
	b.config = f.write(t, id+".yaml", strings.NewReplacer("DIR", f.dir, "ID", id, "GRPC", b.grpc, "HTTP", b.http, "GATEWAY", b.gateway,
		"ETCD", f.etcd.Endpoint(), "ISSUER", jwtIssuer, "TILL", hashed(f.till), "UPSTREAM", upstream, "AUDIT", b.audit, "SNAPSHOT", b.snapshot,
	).Replace(`replica: {id: ID}
grpc: {listen: "GRPC", reflection: true}
http: {listen: "HTTP"}
gateway: {listen: "GATEWAY"}
tls: {cert_file: DIR/server.pem, key_file: DIR/server-key.pem, client_ca_file: DIR/ca.pem}
log: {level: debug, format: json}
election: {session_ttl: 2s}
etcd: {endpoints: ["ETCD"], username: broker, password: {file: DIR/etcd-password}}
snapshot: {file: SNAPSHOT}
sealing: {keyset: {file: DIR/keyset}}
audit: {file: AUDIT}
authentication:
  certificates: {names: [spiffe], trust_domains: [example.org]}
  jwt: [{name: issuer, issuer: "ISSUER", audiences: [tokenbroker], jwks_file: DIR/jwks}]
  token_file: DIR/callers
policy:
  - {identities: ["token:reader"], tokens: ["shop-*"], verbs: [get, watch, report, list]}
  - {identities: ["jwt:issuer:web"], tokens: ["shop-stable"], verbs: [get]}
  - {identities: ["token:operator", "spiffe://example.org/ops"], tokens: ["*"], verbs: [get, watch, report, list, refresh, resign, status]}
clients:
  - {name: till, secret_sha256: TILL, tokens: ["shop-*"]}
tokens:
  - {name: shop-stable, wechat: {appid: wx-stable, secret: {file: DIR/app-secret}, base_url: "UPSTREAM", max_life: 10m, overlap: 10s}}
  - {name: shop-classic, wechat: {mode: classic, appid: wx-classic, secret: {file: DIR/app-secret}, base_url: "UPSTREAM", max_life: 10m, overlap: 10s}}
`))
	return b
}

// launch starts a replica, whose programs log all they can, and waits until it hands out tokens.
func (f *fortress) launch(t *testing.T, b *bastion) {
	t.Helper()
	b.process = start(t, []string{"GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=99"}, program, "serve", "--config", b.config)
	conn := f.dial(t, b, f.reader, nil)
	for _, name := range []string{stable, classic} {
		var last error
		eventually(t, ample, b.id+" hands out "+name, func() bool {
			if !b.running() {
				t.Fatalf("%s ended:\n%s", b.id, b.err.String())
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, last = tokenbrokerv1.NewTokenBrokerServiceClient(conn).GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: name})
			return last == nil
		})
	}
}

// bearer sends a token with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

func (f *fortress) trust() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(f.authority)
	return pool
}

// dial returns a connection with some credentials; either may be missing.
func (f *fortress) dial(t *testing.T, b *bastion, token string, pair *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	cfg := &tls.Config{RootCAs: f.trust()}
	if pair != nil {
		cfg.Certificates = []tls.Certificate{*pair}
	}
	opts := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(cfg)), grpc.WithNoProxy(), grpc.WithDisableRetry()}
	if token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer(token)))
	}
	conn, err := grpc.NewClient("passthrough:///"+b.grpc, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask makes a request over HTTPS and keeps the whole answer, header and body, unless it is one that is to hold a token.
func (f *fortress) ask(t *testing.T, what, url, authorization string, wanted bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	req.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: f.trust()}}
	resp, err := (&http.Client{Transport: transport, Timeout: ample}).Do(req)
	if err != nil {
		t.Errorf("%s: no answer: %v", what, err)
		return
	}
	defer resp.Body.Close()
	var answer bytes.Buffer
	fmt.Fprintln(&answer, resp.Status)
	_ = resp.Header.Write(&answer)
	_, _ = io.Copy(&answer, resp.Body)
	if !wanted {
		f.found.add(what, answer.String())
	} else if resp.StatusCode != http.StatusOK || !strings.Contains(answer.String(), "access_token") && !strings.Contains(answer.String(), "accessToken") {
		t.Errorf("%s: got %s", what, answer.String())
	}
}

// traced returns a context whose calls bring a trace.
func traced(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
}
