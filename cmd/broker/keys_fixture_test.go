package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// sealedReplica is a replica with a keyset, a snapshot and a port of its own, which can be restarted.
type sealedReplica struct {
	*broker
	site            *site
	id, address     string
	keyset, tokens  string
	unsealed        bool // values that are not sealed are taken in
	namespace, snap string
}

func (s *site) sealed(t *testing.T, id, tokens string) *sealedReplica {
	t.Helper()
	return &sealedReplica{
		site: s, id: id, address: closedPort(t), tokens: tokens, namespace: defaultNamespace,
		keyset: filepath.Join(s.dir, id+".keys"), snap: filepath.Join(s.dir, id+".snapshot"),
	}
}

// config is the replica's configuration.
func (r *sealedReplica) config(t *testing.T) string {
	t.Helper()
	text := fmt.Sprintf(`
replica: {id: %s}
plaintext: true
insecure_plaintext_store: %v
grpc: {listen: %q}
http: {listen: "127.0.0.1:0"}
etcd: {endpoints: [%q], namespace: %s}
election: {session_ttl: 2s}
snapshot: {file: %s}
`, r.id, r.unsealed, r.address, r.site.etcd.Endpoint(), r.namespace, r.snap)
	if r.keyset != "" {
		text += "sealing: {keyset: {file: " + r.keyset + "}}\n"
	}
	text += "tokens:\n" + strings.ReplaceAll(r.tokens, "WECHAT", r.site.url)
	file := filepath.Join(r.site.dir, r.id+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// noSetting leaves it to the file whether values must be sealed.
var noSetting = map[string]string{"TOKENBROKER_INSECURE_PLAINTEXT_STORE": ""}

// start starts the replica with a copy of a keyset, unless that is empty.
func (r *sealedReplica) start(t *testing.T, keyset string) {
	t.Helper()
	if keyset != "" {
		data, err := os.ReadFile(keyset)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.keyset, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.broker = &broker{file: r.config(t)}
	r.program = launch(t, noSetting, "serve", "-c", r.file)
	found := listening.FindStringSubmatch(r.err.await(t, "msg=starting"))
	r.grpc, r.http = found[1], "http://"+found[2]
}

// serving waits until the replica answers, and is a candidate.
func (r *sealedReplica) serving(t *testing.T) {
	t.Helper()
	ask(t, r.grpc, "a")
	r.candidate(t, true)
}

// candidate waits until the replica stands for election, or does not any more.
func (r *sealedReplica) candidate(t *testing.T, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s stands for election: %v", r.id, want), func() bool {
		resp, err := r.site.etcd.Client(t).Get(t.Context(), r.namespace+"election/", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			if bytes.Contains(kv.Value, []byte(`"id":"`+r.id+`"`)) {
				return want
			}
		}
		return !want
	})
}

// restart stops the replica and starts it with a copy of the keyset.
func (r *sealedReplica) restart(t *testing.T, keyset string) {
	t.Helper()
	if code := r.exit(t); code != 0 {
		t.Errorf("%s ended with %d", r.id, code)
	}
	r.candidate(t, false)
	r.start(t, keyset)
	r.serving(t)
}

func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to pass that %s", what)
		}
	}
}

// keys runs broker keys with a configuration.
func (r *sealedReplica) keys(t *testing.T, args ...string) string {
	t.Helper()
	return command(t.Context(), "x:1", "", append([]string{"keys"}, append(args, "-c", r.config(t), "--timeout", "30s")...)...)
}

// atRest are the keys that records in etcd name, by token; 0 for what is not sealed.
func (s *site) atRest(t *testing.T) map[string]seal.ID {
	t.Helper()
	found := map[string]seal.ID{}
	for _, kv := range s.dump(t, defaultNamespace+"token/") {
		var rec struct{ Sealed []byte }
		if err := json.Unmarshal([]byte(kv[1]), &rec); err != nil {
			t.Fatal(err)
		}
		id, _ := seal.KeyOf(rec.Sealed)
		found[strings.TrimPrefix(kv[0], defaultNamespace+"token/")] = id
	}
	return found
}

// dump is every key below a prefix, with its value.
func (s *site) dump(t *testing.T, prefix string) [][2]string {
	t.Helper()
	resp, err := s.etcd.Client(t).Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	var all [][2]string
	for _, kv := range resp.Kvs {
		all = append(all, [2]string{string(kv.Key), string(kv.Value)})
	}
	return all
}

func (s *site) put(t *testing.T, key, value string) {
	t.Helper()
	if _, err := s.etcd.Client(t).Put(t.Context(), defaultNamespace+key, value); err != nil {
		t.Fatal(err)
	}
}

func (s *site) get(t *testing.T, key string) string {
	t.Helper()
	found := s.dump(t, defaultNamespace+key)
	if len(found) != 1 {
		t.Fatalf("%d keys under %s", len(found), key)
	}
	return found[0][1]
}

// marker is how the base64 form of what is sealed with a key begins.
func marker(id seal.ID) string {
	return `"sealed":"` + base64.StdEncoding.EncodeToString(append(sealedBy(id)[:5], 0))[:6]
}

// hides fails the test if a token can be seen in data, as it is or in base64.
func hides(t *testing.T, where string, data []byte, tokens ...string) {
	t.Helper()
	for _, value := range tokens {
		for shift := range 3 { // base64 of a text depends on what is before it
			inner := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + value))[4 : len(value)/3*4-4]
			if bytes.Contains(data, []byte(inner)) {
				t.Errorf("a token is in %s, in base64", where)
			}
		}
		if bytes.Contains(data, []byte(value)) || bytes.Contains(data, []byte(value[10:30])) {
			t.Errorf("a token is in %s", where)
		}
	}
}

func (s *site) hides(t *testing.T, replicas []*sealedReplica, tokens ...string) {
	t.Helper()
	for _, kv := range s.dump(t, "") {
		hides(t, "etcd at "+kv[0], []byte(kv[1]), tokens...)
	}
	for _, r := range replicas {
		var data []byte
		eventually(t, r.id+" has a snapshot of both tokens", func() bool {
			data, _ = os.ReadFile(r.snap)
			return bytes.Contains(data, []byte(`"name":"a"`)) && bytes.Contains(data, []byte(`"name":"b"`))
		})
		hides(t, r.snap, data, tokens...)
	}
}

// callers ask the replicas for tokens all the time, as a program does that knows them all, and count what fails.
type callers struct {
	asked, failed atomic.Int64
	last          atomic.Value
	stop          context.CancelFunc
	running       sync.WaitGroup
}

func callFor(t *testing.T, names []string, replicas ...*sealedReplica) *callers {
	t.Helper()
	var addresses []string
	for _, r := range replicas {
		addresses = append(addresses, r.address)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &callers{stop: stop}
	t.Cleanup(c.end)
	for _, name := range names {
		c.running.Go(func() {
			conn, err := dial(addresses, callerConfig)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for ctx.Err() == nil {
				call, cancel := context.WithTimeout(ctx, 20*time.Second)
				_, err := tokenbrokerv1.NewTokenBrokerServiceClient(conn).GetToken(call, &tokenbrokerv1.GetTokenRequest{Name: name})
				cancel()
				if ctx.Err() != nil {
					return
				}
				if c.asked.Add(1); err != nil {
					c.failed.Add(1)
					c.last.Store(err.Error())
				}
				<-time.After(5 * time.Millisecond)
			}
		})
	}
	return c
}

func (c *callers) end() {
	c.stop()
	c.running.Wait()
}

// fine fails the test if any call failed.
func (c *callers) fine(t *testing.T) {
	t.Helper()
	c.end()
	if c.failed.Load() > 0 || c.asked.Load() < 100 {
		t.Errorf("%d of %d calls failed, the last with %v", c.failed.Load(), c.asked.Load(), c.last.Load())
	}
}

// threeOf starts three replicas that hold both tokens.
func threeOf(t *testing.T, s *site, keyset string) ([]*sealedReplica, []string) {
	t.Helper()
	var all []*sealedReplica
	for _, id := range []string{"one", "two", "three"} {
		r := s.sealed(t, id, tokenA+tokenB)
		r.start(t, keyset)
		all = append(all, r)
	}
	var values []string
	for _, r := range all {
		r.serving(t)
		values = []string{ask(t, r.grpc, "a").GetAccessToken(), ask(t, r.grpc, "b").GetAccessToken()}
	}
	return all, values
}

func (s *site) fetches() string {
	return fmt.Sprintf("%d stable, %d classic", s.wechat.Requests(wechattest.Stable), s.wechat.Requests(wechattest.Classic))
}
