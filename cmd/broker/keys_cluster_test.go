package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/netfault"
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
	address, err := netfault.FreeAddress("127.0.0.1", net.Listen)
	if err != nil {
		t.Fatal(err)
	}
	return &sealedReplica{
		site: s, id: id, address: address, tokens: tokens, namespace: defaultNamespace,
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

// keysCommand runs broker keys with a configuration.
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
		if r.start(t, keyset); keyset == "" {
			t.Fatal("no keyset")
		}
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

func TestAKeyIsReplacedUnderALiveClusterWithoutAFetchOrAFailedCall(t *testing.T) {
	s := newSite(t)
	file := newKeyset(t)
	replicas, values := threeOf(t, s, file)
	first := replicas[0]
	old := keysOf(t, file)[0].ID
	callers := callFor(t, []string{"a", "b"}, replicas...)
	rotate := func(want string) {
		t.Helper()
		before, _ := os.ReadFile(file)
		got := first.keys(t, "rotate", file, "--replicas", "3")
		if !strings.Contains(got, want) {
			t.Fatalf("%q is not in:\n%s", want, got)
		}
		refused := strings.Contains(want, "not safe yet")
		if after, _ := os.ReadFile(file); refused && !bytes.Equal(before, after) || refused != strings.Contains(got, "exit code 1") {
			t.Fatalf("the file changed: %v\n%s", !bytes.Equal(before, after), got)
		}
	}
	roll := func(which ...*sealedReplica) {
		t.Helper()
		for _, r := range which {
			r.restart(t, file)
		}
	}
	s.hides(t, replicas, values...)

	rotate("add: ")
	added := keysOf(t, file)[1].ID
	rotate("promote is not safe yet, and nothing was changed:\n  replica one does not have key " + added.String() + " yet")
	roll(replicas[0], replicas[1])
	rotate("promote is not safe yet, and nothing was changed:\n  replica three does not have key " + added.String() + " yet")
	roll(replicas[2])
	rotate("promote: key " + added.String() + " seals from now on")
	rotate("reseal is not safe yet, and nothing was changed:\n  replica one still seals with key " + old.String())
	roll(replicas[0], replicas[1])
	rotate("reseal is not safe yet, and nothing was changed:\n  replica three still seals with key " + old.String())
	if got := first.keys(t, "reseal"); !strings.Contains(got, "reseal is not safe yet") {
		t.Errorf("it is sealed anew too early:\n%s", got)
	}
	roll(replicas[2])
	if got := s.atRest(t); got["a"] != old || got["b"] != old {
		t.Errorf("sealed with %v before anybody asked", got)
	}
	for _, r := range replicas {
		eventually(t, r.id+" has sealed its snapshot anew", func() bool {
			data, err := os.ReadFile(r.snap)
			return err == nil && !bytes.Contains(data, []byte(marker(old))) && bytes.Contains(data, []byte(marker(added)))
		})
	}

	status := first.keys(t, "status")
	for _, want := range []string{old.String() + " enabled 2 0", added.String() + " primary 0 0", "three " + added.String() + " " + old.String() + ", " + added.String()} {
		if !strings.Contains(strings.Join(strings.Fields(status), " "), want) {
			t.Errorf("%q is not in\n%s", want, status)
		}
	}
	rotate("reseal: 2 records sealed anew with key " + added.String())
	if got := s.atRest(t); got["a"] != added || got["b"] != added {
		t.Errorf("sealed with %v", got)
	}
	rotate("disable: ")
	roll(replicas...)
	rotate("add: ")

	callers.fine(t)
	if got := s.fetches(); got != "1 stable, 1 classic" {
		t.Errorf("fetched: %s", got)
	}
	for _, r := range replicas {
		if ask(t, r.grpc, "a").GetAccessToken() != values[0] || ask(t, r.grpc, "b").GetAccessToken() != values[1] {
			t.Errorf("%s has other tokens", r.id)
		}
	}
	s.hides(t, replicas, values...)
}

// marker is how the base64 form of what is sealed with a key begins.
func marker(id seal.ID) string {
	return `"sealed":"` + base64.StdEncoding.EncodeToString(append(sealedBy(id)[:5], 0))[:6]
}

func TestSealingIsSwitchedOnUnderALiveClusterWithoutAFetch(t *testing.T) {
	s := newSite(t)
	file := newKeyset(t)
	var replicas []*sealedReplica
	for _, id := range []string{"one", "two"} {
		r := s.sealed(t, id, tokenA+tokenB)
		r.keyset, r.unsealed = "", true
		r.start(t, "")
		r.err.await(t, "TOKENS LIE IN ETCD AND IN THE SNAPSHOT AS THEY ARE")
		replicas = append(replicas, r)
	}
	for _, r := range replicas {
		r.serving(t)
	}
	values := []string{ask(t, replicas[0].grpc, "a").GetAccessToken(), ask(t, replicas[0].grpc, "b").GetAccessToken()}
	if got := s.atRest(t); got["a"] != 0 || got["b"] != 0 {
		t.Errorf("sealed with %v", got)
	}
	callers := callFor(t, []string{"a", "b"}, replicas...)

	// Too early: who takes only sealed values cannot start.
	early := s.sealed(t, "early", tokenA)
	early.start(t, file)
	early.err.await(t, "token a at /tokenbroker/token/a: it is not sealed, and this replica takes nothing in that is not")

	for i, r := range replicas {
		if got := r.keys(t, "reseal"); !strings.Contains(got, "reseal is not safe yet") {
			t.Errorf("with %d of 2 keysets:\n%s", i, got)
		}
		r.keyset = filepath.Join(s.dir, r.id+".keys")
		r.restart(t, file)
		r.err.await(t, "values that are not sealed are taken in beside the keyset")
	}
	if got := replicas[0].keys(t, "reseal"); !strings.Contains(got, "2 records sealed anew") {
		t.Error(got)
	}
	for _, r := range replicas {
		r.unsealed = false
		r.restart(t, file)
		if strings.Contains(r.err.String(), "insecure_plaintext_store") {
			t.Error("it still warns")
		}
	}
	callers.fine(t)
	if got := s.fetches(); got != "1 stable, 1 classic" {
		t.Errorf("fetched: %s", got)
	}
	s.hides(t, replicas, values...)

	// Nobody brings a token in any more.
	s.put(t, "token/a", strings.Replace(s.get(t, "token/a"), marker(keysOf(t, file)[0].ID), `"sealed":"cGxhaW4=","was":"`, 1))
	replicas[0].err.await(t, "reason=unsealed")
	if got := ask(t, replicas[0].grpc, "b").GetAccessToken(); got != values[1] {
		t.Error("another token suffers")
	}
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

func TestAReplicaWithoutTheRightKeyDoesNotStartAndSaysWhatToDo(t *testing.T) {
	s := newSite(t)
	file, other := newKeyset(t), newKeyset(t)
	r := s.sealed(t, "one", tokenA)
	r.start(t, file)
	r.serving(t)
	id, another := keysOf(t, file)[0].ID, keysOf(t, other)[0].ID
	before := s.get(t, "token/a")
	if code := r.exit(t); code != 0 {
		t.Fatal(code)
	}
	for name, tc := range map[string]struct {
		prepare func(r *sealedReplica) string
		want    []string
	}{
		"another keyset": {func(*sealedReplica) string { return other }, []string{
			"token a at /tokenbroker/token/a: it is sealed with key " + id.String() + ", which is missing here: the keyset has " + another.String() + " (primary); copy the keyset",
		}},
		"no keyset": {func(r *sealedReplica) string { r.keyset, r.unsealed = "", true; return "" }, []string{
			"it is sealed with key " + id.String() + ", which is missing here: there is no keyset",
		}},
		"the key is disabled": {func(*sealedReplica) string {
			k, err := readKeyset(file)
			if err != nil {
				t.Fatal(err)
			}
			both, next, err := k.Add()
			if err != nil {
				t.Fatal(err)
			}
			promoted, err := both.Promote(next)
			if err != nil {
				t.Fatal(err)
			}
			disabled, err := promoted.Disable(id)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "disabled")
			if err := writeKeyset(path, disabled); err != nil {
				t.Fatal(err)
			}
			return path
		}, []string{"which is disabled here", "broker keys enable FILE " + id.String()}},
	} {
		wrong := s.sealed(t, "wrong", tokenA)
		wrong.start(t, tc.prepare(wrong))
		got := wrong.err.await(t, "does not start")
		select {
		case code := <-wrong.code:
			if code != exitFailed {
				t.Errorf("%s: exit code %d", name, code)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: it does not end", name)
		}
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, got)
			}
		}
		if strings.Contains(got, "msg=leading") {
			t.Errorf("%s: it has led", name)
		}
	}
	if after := s.get(t, "token/a"); after != before || s.fetches() != "1 stable, 0 classic" {
		t.Errorf("fetched: %s; the record was written: %v", s.fetches(), after != before)
	}
}

// A replica that starts while etcd is away answers from its snapshot, and ends when etcd comes back and tells that its keys are wrong.
func TestAReplicaWithTheWrongKeysEndsWhenEtcdComesBack(t *testing.T) {
	s := newSite(t)
	file, other := newKeyset(t), newKeyset(t)
	r := s.sealed(t, "one", tokenA)
	r.start(t, file)
	r.serving(t)
	if code := r.exit(t); code != 0 {
		t.Fatal(code)
	}
	s.etcd.Stop()
	wrong := s.sealed(t, "wrong", tokenA)
	wrong.start(t, other)
	wrong.err.await(t, "an etcd does not answer")
	right := s.sealed(t, "one", tokenA)
	right.start(t, file)
	if got := ask(t, right.grpc, "a").GetVersion(); got != 1 {
		t.Errorf("from the snapshot: version %d", got)
	}
	s.etcd.Restart(t)
	wrong.err.await(t, "which is missing here")
	right.serving(t)
}

func TestAMovedValueIsNoticedAndNeverServedNorWrittenOver(t *testing.T) {
	s := newSite(t)
	file := newKeyset(t)
	a, b := s.sealed(t, "one", tokenA+tokenB), s.sealed(t, "two", tokenA+tokenB)
	a.start(t, file)
	a.serving(t)
	b.start(t, file)
	b.serving(t)
	valueA, valueB := ask(t, a.grpc, "a").GetAccessToken(), ask(t, a.grpc, "b").GetAccessToken()
	moved := strings.Replace(s.get(t, "token/a"), `"version":1`, `"version":9`, 1)
	s.put(t, "token/b", moved)
	for _, r := range []*sealedReplica{a, b} {
		r.err.await(t, "reason=moved_or_changed")
		if got := page(t, r.http+"/metrics"); !strings.Contains(got, `tokenbroker_store_unusable_records{reason="moved_or_changed"} 1`) {
			t.Errorf("%s: the metric does not tell", r.id)
		}
		if got := ask(t, r.grpc, "a").GetAccessToken(); got != valueA {
			t.Errorf("%s: another token suffers", r.id)
		}
		if got := command(t.Context(), r.grpc, "", "get", "b", "-o", "json"); strings.Contains(got, valueA) || !strings.Contains(got, valueB) {
			t.Errorf("%s does not go on with the token that it holds:\n%s", r.id, got)
		}
	}
	// Whoever leads next must neither fetch nor write, and who starts anew has nothing to serve.
	a.restart(t, file)
	if got := command(t.Context(), b.grpc, "", "resign"); !strings.Contains(got, "leads now") {
		t.Error(got)
	}
	a.err.await(t, "refreshing failed; trying again soon")
	if got := command(t.Context(), a.grpc, "", "refresh", "b", "--timeout", "2s"); strings.Contains(got, "exit code 0") {
		t.Errorf("it is fetched:\n%s", got)
	}
	if got := s.get(t, "token/b"); got != moved || s.fetches() != "1 stable, 1 classic" {
		t.Errorf("fetched: %s; the record was written: %v", s.fetches(), got != moved)
	}
	if got := a.keys(t, "status"); !strings.Contains(got, "it was moved here from another key") || !strings.Contains(got, "exit code 1") {
		t.Errorf("status does not tell:\n%s", got)
	}
}

func TestARecordThatIsCopiedToAnotherClusterDoesNotOpenThere(t *testing.T) {
	s := newSite(t)
	file := newKeyset(t)
	r := s.sealed(t, "one", tokenA)
	r.start(t, file)
	r.serving(t)
	value := ask(t, r.grpc, "a").GetAccessToken()
	copied := s.get(t, "token/a")
	if _, err := s.etcd.Client(t).Put(t.Context(), "/elsewhere/token/a", copied); err != nil {
		t.Fatal(err)
	}
	elsewhere := s.sealed(t, "elsewhere", tokenA)
	elsewhere.namespace = "/elsewhere/"
	elsewhere.start(t, file)
	elsewhere.err.await(t, "refreshing failed; trying again soon")
	if got := command(t.Context(), elsewhere.grpc, "", "get", "a", "--timeout", "2s"); strings.Contains(got, value) || strings.Contains(got, "exit code 0") {
		t.Errorf("it is served:\n%s", got)
	}
	if got := s.dump(t, "/elsewhere/token/a")[0][1]; got != copied || s.fetches() != "1 stable, 0 classic" {
		t.Errorf("fetched: %s; the record was written: %v", s.fetches(), got != copied)
	}
}

func TestATokenThatIsConfiguredNoMoreIsSealedAnewAllTheSame(t *testing.T) {
	s := newSite(t)
	r := s.sealed(t, "one", tokenA+tokenB)
	r.keyset, r.unsealed = "", true
	r.start(t, "")
	r.serving(t)
	ask(t, r.grpc, "b")
	r.tokens, r.keyset = tokenA, filepath.Join(s.dir, "one.keys")
	file := newKeyset(t)
	r.restart(t, file)
	if got := r.keys(t, "reseal"); !strings.Contains(got, "2 records sealed anew") {
		t.Fatal(got)
	}
	id := keysOf(t, file)[0].ID
	if got := s.atRest(t); got["a"] != id || got["b"] != id {
		t.Errorf("sealed with %v", got)
	}
}

// A leader of an older version answers that it knows no such request.
func TestALeaderThatCannotSealAnewIsToldOf(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	s := &site{etcd: etcd, url: "http://127.0.0.1:1", dir: t.TempDir()}
	r := s.sealed(t, "one", tokenA)
	file := newKeyset(t)
	k, err := readKeyset(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeKeyset(r.keyset, k); err != nil {
		t.Fatal(err)
	}
	labels, err := json.Marshal(sealingConfig{Keyset: k}.labels())
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, "election/1", `{"id":"old","labels":`+string(labels)+`}`)
	s.put(t, "token/a", `{"schema":1,"version":1,"sealed":"dG9rZW4="}`)
	key := defaultNamespace + "request/reseal/a/" + k.Primary().String()
	watch := client.Watch(t.Context(), key)
	done := make(chan string, 1)
	go func() { done <- r.keys(t, "reseal") }()
	<-watch
	s.put(t, strings.TrimPrefix(key, defaultNamespace), `{"schema":1,"request":{"kind":"reseal","name":"a"},"reply":{"verdict":"failed","reason":"this leader knows no request of kind \"reseal\"; it may be of an older version"}}`)
	if got := <-done; !strings.Contains(got, "token a: the leader answers: this leader knows no request of kind") || !strings.Contains(got, "exit code 1") {
		t.Error(got)
	}
}
