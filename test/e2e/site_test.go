package e2e_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// sessionTTL is the shortest that the configuration allows.
	sessionTTL     = 2 * time.Second
	secret         = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	secretVariable = "APP_SECRET"
	electionPrefix = "/tokenbroker/election"
)

// The tokens of most tests, each of an account of its own.
const (
	stable  = "shop-stable"
	classic = "shop-classic"
)

// site is what several replicas share.
type site struct {
	etcd     *etcdtest.Cluster
	client   *clientv3.Client
	election *election
	wechat   *wechattest.WeChat
	upstream string // WeChat's base URL
	brokers  []*broker
}

// newSite starts an etcd of so many members, and a WeChat whose tokens live as configured; its accounts are set here.
func newSite(t *testing.T, members int, cfg wechattest.Config) *site {
	t.Helper()
	s := &site{etcd: etcdtest.StartCluster(t, members)}
	s.client = s.etcd.Client(t)
	s.election = followElection(t, s.client)
	s.wechat, s.upstream = newWeChat(t, cfg)
	return s
}

// newWeChat serves a simulated WeChat with the accounts wx-stable, wx-classic and wx-late, and returns its base URL.
func newWeChat(t *testing.T, cfg wechattest.Config) (*wechattest.WeChat, string) {
	t.Helper()
	for _, id := range []string{"wx-stable", "wx-classic", "wx-late"} {
		cfg.Accounts = append(cfg.Accounts, wechattest.Account{AppID: id, Secret: secret})
	}
	w, err := wechattest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(w)
	t.Cleanup(func() {
		w.ClearFaults() // a held request would keep the server from closing
		web.Close()
	})
	return w, web.URL
}

// account is the configuration of one token, as YAML. life says how long its tokens live where WeChat's are not wanted: "max_life: 1m,
// overlap: 5s".
func account(name, mode, appid, upstream, life string) string {
	if life != "" {
		life = ", " + life
	}
	return fmt.Sprintf("  - {name: %s, wechat: {mode: %s, appid: %s, secret: {env: %s}, base_url: %q%s}}\n",
		name, mode, appid, secretVariable, upstream, life)
}

// bothTokens is the configuration of a stable and a classic token.
func (s *site) bothTokens() string {
	return account(stable, "stable", "wx-stable", s.upstream, "") + account(classic, "classic", "wx-classic", s.upstream, "")
}

// serve starts n replicas with the tokens given, and returns when each of them hands out all of the names.
func (s *site) serve(t *testing.T, n int, tokens string, names ...string) {
	t.Helper()
	for i := range n {
		b := newBroker(t, fmt.Sprintf("r%d", i+1), fmt.Sprintf("{endpoints: [%s]}", strings.Join(s.etcd.Endpoints(), ", ")), tokens)
		b.launch(t)
		s.brokers = append(s.brokers, b)
	}
	for _, b := range s.brokers {
		for _, name := range names {
			firstToken(t, b, name)
		}
		b.awaitReady(t)
	}
	s.awaitCandidates(t, n)
}

// firstToken waits until a replica hands out a token.
func firstToken(t *testing.T, b *broker, name string) *tokenbrokerv1.Token {
	t.Helper()
	var last error
	var got *tokenbrokerv1.GetTokenResponse
	eventually(t, ample, b.id+" hands out "+name, func() bool {
		// With a min_ttl the replica waits until there is a token.
		got, last = b.service().GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: name, MinTtl: durationpb.New(time.Millisecond)},
			grpc.WaitForReady(true))
		return last == nil
	})
	return got.GetToken()
}

// awaitCandidates waits until so many replicas stand for election, one of which leads, and returns the leader.
func (s *site) awaitCandidates(t *testing.T, n int) *broker {
	t.Helper()
	eventually(t, ample, fmt.Sprintf("%d candidates and a leader", n), func() bool { return s.election.settled(n) })
	return s.leader(t)
}

// leader returns the replica that leads now, as etcd has it.
func (s *site) leader(t *testing.T) *broker {
	t.Helper()
	return s.broker(t, s.election.last().ID)
}

// broker returns the replica of an id.
func (s *site) broker(t *testing.T, id string) *broker {
	t.Helper()
	for _, b := range s.brokers {
		if b.id == id {
			return b
		}
	}
	t.Fatalf("no replica is called %q", id)
	return nil
}

// others returns all replicas but one.
func (s *site) others(but *broker) []*broker {
	var rest []*broker
	for _, b := range s.brokers {
		if b != but {
			rest = append(rest, b)
		}
	}
	return rest
}

// fetches is how many requests for a token have come to WeChat.
func (s *site) fetches() int {
	return s.wechat.Requests(wechattest.Stable) + s.wechat.Requests(wechattest.Classic)
}
