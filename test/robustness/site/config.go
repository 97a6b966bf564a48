package site

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

const (
	secret         = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	secretVariable = "APP_SECRET"
	// Nobody has this name: it is reached through a proxy or not at all.
	weChatHost = "wechat.invalid"
)

// Config says what a site consists of.
type Config struct {
	// Dir is an existing folder for data, configurations and logs. They stay there.
	Dir string
	// Broker and Etcd are the paths of the programs. Broker is a test build, or any broker where no clock is bent and no failpoint
	// used.
	Broker, Etcd string
	// History gets an event for each start and end of a process.
	History *history.Recorder
	// Seed drives the simulated WeChat.
	Seed uint64
	// Brokers and Members are how many there are; default 3 each.
	Brokers, Members int
	// Namespaces: each process runs in a network namespace of its own, and can vanish. Starting fails with ErrNoNamespaces where that cannot be.
	Namespaces bool
	// SessionTTL is the brokers' election.session_ttl; default 2 s, the shortest that the configuration allows.
	SessionTTL time.Duration
	// TokenLife and Overlap are those of every token that WeChat issues, and are told to the brokers. Whole seconds. Default 60 s and
	// 10 s.
	TokenLife, Overlap time.Duration
	// Quotas are WeChat's. Zero is unlimited here, but for ForcedSpacing.
	Quotas wechattest.Quotas
	Tokens []Token
	// Keyset is the file of the keys that the brokers seal values with; empty: they seal nothing.
	Keyset string
	// Extra is further YAML at the top level of the brokers' configuration. $DIR is replaced by Dir, $ID by the broker's id:
	// "snapshot: {file: $DIR/$ID.snapshot}\n".
	Extra string
}

// Token is one token that the brokers keep alive. It has an account of its own at WeChat.
type Token struct {
	Name string
	// Endpoint is wechattest.Stable or wechattest.Classic.
	Endpoint wechattest.Endpoint
	// Extra is further settings of the token, as entries of a YAML flow mapping: "ahead: 20s, verify: {every: 10s}".
	Extra string
}

// AppID is the id of the token's account at WeChat.
func (t Token) AppID() string { return "wx-" + t.Name }

// complete returns the configuration with all defaults.
func (cfg Config) complete() (Config, error) {
	if cfg.Dir == "" || cfg.Broker == "" || cfg.Etcd == "" || cfg.History == nil || len(cfg.Tokens) == 0 {
		return cfg, errors.New("a site needs a folder, two programs, a history and tokens")
	}
	for _, t := range cfg.Tokens {
		if t.Endpoint != wechattest.Stable && t.Endpoint != wechattest.Classic {
			return cfg, fmt.Errorf("token %s: no tokens come from endpoint %q", t.Name, t.Endpoint)
		}
	}
	for _, n := range []*int{&cfg.Brokers, &cfg.Members} {
		if *n == 0 {
			*n = 3
		}
	}
	for _, d := range []struct {
		of        *time.Duration
		otherwise time.Duration
	}{{&cfg.SessionTTL, 2 * time.Second}, {&cfg.TokenLife, time.Minute}, {&cfg.Overlap, 10 * time.Second}} {
		if *d.of == 0 {
			*d.of = d.otherwise
		}
	}
	q := &cfg.Quotas
	for _, quota := range []*int{&q.ClassicPerDay, &q.ClassicPerMin, &q.StablePerDay, &q.StablePerMin, &q.ForcedPerDay, &q.ClearsPerMonth} {
		if *quota == 0 {
			*quota = -1
		}
	}
	return cfg, nil
}

// weChat returns WeChat with an account for each token.
func (cfg Config) weChat() (*wechattest.WeChat, error) {
	sim := wechattest.Config{TokenLife: cfg.TokenLife, Overlap: cfg.Overlap, Quotas: cfg.Quotas, Seed: cfg.Seed}
	for _, t := range cfg.Tokens {
		sim.Accounts = append(sim.Accounts, wechattest.Account{AppID: t.AppID(), Secret: secret})
	}
	return wechattest.New(sim)
}

// yaml returns the configuration of one broker. Whoever calls may do everything, and is asked like anybody.
func (cfg Config) yaml(b *Broker, shown *papers) string {
	var y strings.Builder
	y.WriteString(`replica: {id: ` + b.ID + `}
tls: {cert_file: "` + shown.cert + `", key_file: "` + shown.key + `"}
policy: [{identities: [anonymous], tokens: ["*"], verbs: [get, watch, report, list, refresh, resign, status]}]
limits: {rate: 5000, burst: 10000, calls: 5000}
grpc: {listen: "` + b.GRPC + `"}
http: {listen: "` + b.HTTP + `"}
log: {level: info, format: json}
`)
	if cfg.Keyset == "" {
		y.WriteString("insecure_plaintext_store: true\n")
	} else {
		fmt.Fprintf(&y, "sealing: {keyset: {file: %q}}\n", cfg.Keyset)
	}
	fmt.Fprintf(&y, "election: {session_ttl: %v}\netcd:\n  endpoints:\n", cfg.SessionTTL)
	for _, p := range b.Etcd {
		fmt.Fprintf(&y, "    - http://%s\n", p.Address())
	}
	y.WriteString(os.Expand(cfg.Extra, func(name string) string { return map[string]string{"DIR": cfg.Dir, "ID": b.ID}[name] }))
	y.WriteString("\ntokens:\n")
	for _, t := range cfg.Tokens {
		mode := "stable"
		if t.Endpoint == wechattest.Classic {
			mode = "classic"
		}
		fmt.Fprintf(&y, "  - {name: %s, wechat: {mode: %s, appid: %s, secret: {env: %s}, base_url: %q, max_life: %v, overlap: %v}",
			t.Name, mode, t.AppID(), secretVariable, "http://"+weChatHost, cfg.TokenLife, cfg.Overlap)
		if t.Extra != "" {
			y.WriteString(", " + t.Extra)
		}
		y.WriteString("}\n")
	}
	return y.String()
}
