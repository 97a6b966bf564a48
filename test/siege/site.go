package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// The tokens: one that stays as it is, and one that is fetched every few seconds, so that watchers have something to read.
const (
	stillToken  = "shop"
	movingToken = "kiosk"
	appSecret   = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	// movingLife and movingOverlap are those of the second.
	movingLife, movingOverlap = 10 * time.Second, 2 * time.Second
)

// site is what a broker stands on: an etcd and a simulated WeChat in this process, certificates, and the program, built from this tree.
type site struct {
	dir, program string
	etcd         *embedded.Server
	wechat       string // its base URLs, of tokens that stay and of others
	kiosk        string
	authority    *authority
	server       pair
	good, bad    pair
	issuer       *issuer
	pages        []*http.Server
}

// newSite builds the program, unless it is given, and starts what it stands on. Whoever gets a site must close it, also beside an error.
func newSite(ctx context.Context, dir, program string) (*site, error) {
	s := &site{dir: dir, program: program}
	if program == "" {
		s.program = filepath.Join(dir, "broker")
		build := exec.CommandContext(ctx, "chrt", "--other", "0", "go", "build", "-buildvcs=false", "-o", s.program, "github.com/tokenbroker/tokenbroker/cmd/broker")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return s, fmt.Errorf("building the broker: %w\n%s", err, out)
		}
	}
	var err error
	if s.etcd, err = embedded.Start(ctx, embedded.Config{
		DataDir: filepath.Join(dir, "etcd"), ListenClient: "http://127.0.0.1:0", ListenPeer: "http://127.0.0.1:0", UnsafeNoFsync: true,
	}); err != nil {
		return s, fmt.Errorf("starting etcd: %w", err)
	}
	if s.wechat, err = s.serveWeChat(wechattest.Config{}); err != nil {
		return s, err
	}
	if s.kiosk, err = s.serveWeChat(wechattest.Config{TokenLife: movingLife, Overlap: movingOverlap}); err != nil {
		return s, err
	}
	err = s.certify()
	return s, err
}

// certify makes the certificates and the keys of the issuer of JWTs.
func (s *site) certify() error {
	var err error
	if s.authority, err = newAuthority(s.dir, "authority"); err != nil {
		return err
	}
	for name, to := range map[string]*pair{"broker": &s.server, "good": &s.good, "bad": &s.bad} {
		if *to, err = s.authority.issue(name); err != nil {
			return err
		}
	}
	s.issuer, err = newIssuer(s.dir)
	return err
}

// serveWeChat serves a simulated WeChat with both accounts, and returns its base URL.
func (s *site) serveWeChat(cfg wechattest.Config) (string, error) {
	cfg.Quotas = wechattest.Quotas{ClassicPerDay: -1, StablePerDay: -1, StablePerMin: -1}
	for _, name := range []string{stillToken, movingToken} {
		cfg.Accounts = append(cfg.Accounts, wechattest.Account{AppID: appID(name), Secret: appSecret})
	}
	w, err := wechattest.New(cfg)
	if err != nil {
		return "", fmt.Errorf("making a WeChat: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("serving WeChat: %w", err)
	}
	page := &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	s.pages = append(s.pages, page)
	go func() { _ = page.Serve(l) }() // until close
	return "http://" + l.Addr().String(), nil
}

func appID(token string) string { return "wx-" + token }

func (s *site) close() {
	for _, page := range s.pages {
		_ = page.Close()
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
}

// yaml is the configuration of the broker. There is no section limits: the defaults are what is tried.
func (s *site) yaml() string {
	tokens := fmt.Sprintf(`tokens:
  - {name: %s, wechat: {appid: %s, secret: {env: APP_SECRET}, base_url: %q}}
  - {name: %s, wechat: {appid: %s, secret: {env: APP_SECRET}, base_url: %q, max_life: %v, overlap: %v}}
`, stillToken, appID(stillToken), s.wechat, movingToken, appID(movingToken), s.kiosk, movingLife, movingOverlap)
	return fmt.Sprintf(`replica: {id: besieged}
tls: {cert_file: %s, key_file: %s, client_ca_file: %s, client_certificates: optional}
insecure_plaintext_store: true
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
gateway: {listen: "127.0.0.1:0"}
etcd: {endpoints: [%q]}
audit: {file: %s}
authentication:
  certificates: {names: [dns]}
  jwt:
    - {name: issuer, issuer: %s, audiences: [%s], jwks_file: %s}
policy:
  - {identities: ["dns:good"], tokens: ["*"], verbs: [get, watch, status]}
  - {identities: ["dns:bad", "jwt:issuer:*"], tokens: ["*"], verbs: [get, watch, list]}
clients:
  - {name: till, secret_sha256: %s, tokens: ["*"]}
%s`, s.server.Cert, s.server.Key, s.authority.file, s.etcd.Endpoint(), filepath.Join(s.dir, "audit.log"),
		issuerURL, audience, s.issuer.keys, hash(rand.Text()), tokens)
}
