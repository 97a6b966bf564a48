package build_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

const (
	// ample is longer than anything here takes.
	ample  = time.Minute
	secret = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
)

// house is an etcd and a WeChat, in which each broker has a namespace of its own.
type house struct {
	etcd   *etcdtest.Server
	client *clientv3.Client
	wechat string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	w, err := wechattest.New(wechattest.Config{Accounts: []wechattest.Account{{AppID: "wx", Secret: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(w)
	t.Cleanup(web.Close)
	etcd := etcdtest.Start(t)
	return &house{etcd: etcd, client: etcd.Client(t), wechat: web.URL}
}

// broker is a test build that runs.
type broker struct {
	cmd       *exec.Cmd
	errors    strings.Builder // read it only after the end
	namespace string
	points    string // where its failpoints are armed
	ended     chan struct{}
}

// serve starts a broker with one classic token. It ends with the test at the latest.
func (h *house) serve(t *testing.T, env ...string) *broker {
	t.Helper()
	b := &broker{namespace: "/" + filepath.Base(t.Name()) + "/", points: etcdtest.FreeAddress(t), ended: make(chan struct{})}
	file := filepath.Join(t.TempDir(), "broker.yaml")
	text := fmt.Sprintf(`replica: {id: r1}
plaintext: true
insecure_plaintext_store: true
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
election: {session_ttl: 2s}
etcd: {endpoints: [%q], namespace: %q}
tokens:
  - {name: shop, wechat: {mode: classic, appid: wx, secret: {env: APP_SECRET}, base_url: %q}}
`, h.etcd.Endpoint(), b.namespace, h.wechat)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.cmd = exec.CommandContext(context.Background(), testBroker(t), "serve", "--config", file)
	b.cmd.Env = append([]string{"APP_SECRET=" + secret, "GOFAIL_HTTP=" + b.points}, env...)
	b.cmd.Stderr = &b.errors
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.ended)
		_ = b.cmd.Wait() // ProcessState has it
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill() // fails if it has ended
		<-b.ended
		if t.Failed() {
			t.Log(b.errors.String())
		}
	})
	return b
}

// exit waits for the process to end, and returns its exit code.
func (b *broker) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-b.ended:
		return b.cmd.ProcessState.ExitCode()
	case <-time.After(ample):
		t.Fatal("the process does not end")
		return 0
	}
}

// values returns what stands in etcd below a broker's prefix.
func (h *house) values(t *testing.T, b *broker, prefix string) []string {
	t.Helper()
	r, err := h.client.Get(t.Context(), b.namespace+prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, kv := range r.Kvs {
		values = append(values, string(kv.Value))
	}
	return values
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(ample)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never came about that %s", what)
		}
	}
}
