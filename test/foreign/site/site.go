// Package site runs what foreign clients are tried on: an etcd and a simulated WeChat in the test process, and in a process of its own a
// broker that was built from this tree, with its gateway. Everything listens on free ports of loopback and ends with the test.
package site

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// The tokens and accounts of every site. Stable and Classic are of one account, as it is with WeChat.
const (
	Stable  = "shop"
	Classic = "shop-classic"
	AppID   = "wx0123456789abcdef"
	// Foreign is a token that the site's client may not have, of an account of its own.
	Foreign      = "foreign"
	ForeignAppID = "wxfedcba9876543210"
)

// appSecret is what the broker alone has.
const (
	appSecret     = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	secretSetting = "APP_SECRET"
)

// Site is a broker and what it stands on.
type Site struct {
	// WeChat judges; Upstream is its base URL, which also serves its controls.
	WeChat   *wechattest.WeChat
	Upstream string
	// GRPC is host:port, and HTTP the base URL of the gateway.
	GRPC, HTTP string
	// Secret is that of a client who may have every token but Foreign, on the paths that are compatible with WeChat's.
	Secret string

	broker *process
}

// New starts a site with the broker at a path, and returns when it hands out all tokens. Besides the usual ones it has a stable token of
// each further name, of an account of its own.
func New(tb testing.TB, program string, names ...string) *Site {
	tb.Helper()
	names = append([]string{Stable, Foreign}, names...)
	cfg := wechattest.Config{Control: true, Seed: 1}
	for _, name := range names {
		cfg.Accounts = append(cfg.Accounts, wechattest.Account{AppID: appID(name), Secret: appSecret})
	}
	w, err := wechattest.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	web := httptest.NewServer(w)
	tb.Cleanup(web.Close)
	s := &Site{WeChat: w, Upstream: web.URL, Secret: rand.Text()}
	// etcd is older than the broker, and so outlives it.
	s.launch(tb, program, etcdtest.StartCluster(tb, 1).Endpoints()[0], names)
	for _, name := range slices.Concat(names, []string{Classic}) {
		Eventually(tb, "there is a token "+name, func() bool { _, ok := s.ask(tb, name); return ok })
	}
	return s
}

func appID(name string) string {
	switch name {
	case Stable, Classic:
		return AppID
	case Foreign:
		return ForeignAppID
	default:
		return "wx-" + name
	}
}

// listens finds the addresses in the log.
var listens = regexp.MustCompile(`msg=starting .* grpc=(\S+) .*gateway=(\S+)`)

// launch starts the broker, and returns when it listens.
func (s *Site) launch(tb testing.TB, program, etcd string, names []string) {
	tb.Helper()
	var tokens strings.Builder
	add := func(name, mode string) {
		fmt.Fprintf(&tokens, "  - {name: %s, wechat: {mode: %s, appid: %s, secret: {env: %s}, base_url: %q}}\n",
			name, mode, appID(name), secretSetting, s.Upstream)
	}
	add(Classic, "classic")
	for _, name := range names {
		add(name, "stable")
	}
	text := fmt.Sprintf(`replica: {id: r1}
plaintext: true
insecure_plaintext_store: true
grpc: {listen: "127.0.0.1:0", reflection: true}
http: {listen: "127.0.0.1:0"}
gateway: {listen: "127.0.0.1:0"}
log: {level: debug}
etcd: {endpoints: [%q]}
policy:
  - {identities: [anonymous], tokens: ["*"], verbs: [get, watch, report, list, refresh, resign, status]}
clients:
  - {name: till, secret_sha256: %x, tokens: ["%s*", "example-*"]}
tokens:
%s`, etcd, sha256.Sum256([]byte(s.Secret)), Stable, tokens.String())
	file := filepath.Join(tb.TempDir(), "broker.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.searchLog(tb) })
	s.broker = start(tb, []string{secretSetting + "=" + appSecret}, program, "serve", "--config", file)
	var found []string
	Eventually(tb, "the broker listens", func() bool {
		if !s.broker.running() {
			tb.Fatalf("the broker ended:\n%s", s.broker.err.String())
		}
		found = listens.FindStringSubmatch(s.broker.err.String())
		return found != nil
	})
	s.GRPC, s.HTTP = found[1], "http://"+found[2]
}

// searchLog fails the test if the broker's log shows a token or a secret.
func (s *Site) searchLog(tb testing.TB) {
	tb.Helper()
	if s.broker == nil {
		return // it could not be started
	}
	log := s.broker.err.String()
	secrets := []string{s.Secret, appSecret}
	for _, issued := range s.WeChat.History() {
		secrets = append(secrets, issued.Token)
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			tb.Error("the broker's log shows a token or a secret")
			return
		}
	}
}
