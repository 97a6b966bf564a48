package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// transcript collects what a program writes, and tells when something has been written.
type transcript struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // closed at the next write
}

func newTranscript() *transcript { return &transcript{written: make(chan struct{})} }

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.written)
	t.written = make(chan struct{})
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// await waits until text occurs.
func (t *transcript) await(tb testing.TB, text string) string {
	tb.Helper()
	late := time.After(20 * time.Second)
	for {
		t.mu.Lock()
		all, written := t.text.String(), t.written
		t.mu.Unlock()
		if strings.Contains(all, text) {
			return all
		}
		select {
		case <-written:
		case <-late:
			tb.Fatalf("%q is not written; this is:\n%s", text, all)
		}
	}
}

// program is one run of the command line in the background.
type program struct {
	out, err *transcript
	stop     context.CancelFunc
	code     chan int
}

// launch runs a command line until stop, or the end of the test. The environment is what fakeEnvironment makes of variables.
func launch(t *testing.T, variables map[string]string, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &program{out: newTranscript(), err: newTranscript(), stop: stop, code: make(chan int, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.code <- run(ctx, args, console{in: strings.NewReader(""), out: p.out, err: p.err, env: fakeEnvironment(variables), now: time.Now})
	}()
	t.Cleanup(func() {
		stop()
		<-done
		if t.Failed() {
			t.Logf("broker %s:\n%s%s", strings.Join(args, " "), p.out, p.err)
		}
	})
	return p
}

// exit stops the program and returns its exit code.
func (p *program) exit(t *testing.T) int {
	t.Helper()
	p.stop()
	select {
	case code := <-p.code:
		return code
	case <-time.After(30 * time.Second):
		t.Fatal("the program does not end")
		return -1
	}
}

// site is what several replicas share: an etcd and a simulated WeChat.
type site struct {
	etcd   *etcdtest.Server
	wechat *wechattest.WeChat
	url    string
	dir    string
}

func newSite(t *testing.T) *site {
	t.Helper()
	w, err := wechattest.New(wechattest.Config{Accounts: []wechattest.Account{{AppID: "wx1", Secret: secretValue}, {AppID: "wx2", Secret: secretValue}}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(w)
	t.Cleanup(web.Close)
	return &site{etcd: etcdtest.Start(t), wechat: w, url: web.URL, dir: t.TempDir()}
}

// broker is one replica that runs.
type broker struct {
	*program
	grpc, http, file string
}

var listening = regexp.MustCompile(`grpc=(\S+) gateway=\S+ metrics=(\S+)`)

// serve starts a replica with the given tokens, as YAML, and returns when it hands out token a.
func (s *site) serve(t *testing.T, id, tokens string) *broker {
	t.Helper()
	b := s.start(t, id, tokens)
	ask(t, b.grpc, "a")
	return b
}

// start is serve without waiting for a token.
func (s *site) start(t *testing.T, id, tokens string) *broker {
	t.Helper()
	b := &broker{file: filepath.Join(s.dir, id+".yaml")}
	b.configure(t, s, id, tokens)
	b.program = launch(t, nil, "serve", "-c", b.file)
	found := listening.FindStringSubmatch(b.err.await(t, "msg=starting"))
	b.grpc, b.http = found[1], "http://"+found[2]
	return b
}

func (b *broker) configure(t *testing.T, s *site, id, tokens string) {
	t.Helper()
	text := strings.NewReplacer("ETCD", s.etcd.Endpoint(), "ID", id, "WECHAT", s.url).Replace(`
replica: {id: ID}
plaintext: true
insecure_plaintext_store: true
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
log: {level: debug}
etcd: {endpoints: ["ETCD"]}
election: {session_ttl: 2s}
tokens:
` + tokens)
	if err := os.WriteFile(b.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const (
	tokenA = "- {name: a, wechat: {appid: wx1, secret: {env: SHOP}, base_url: \"WECHAT\"}}\n"
	tokenB = "- {name: b, wechat: {mode: classic, appid: wx2, secret: {env: SHOP}, base_url: \"WECHAT\"}}\n"
)

// ask waits for a token from one replica.
func ask(t *testing.T, address, name string) *tokenbrokerv1.Token {
	t.Helper()
	conn, err := dial([]string{address}, callerConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	resp, err := tokenbrokerv1.NewTokenBrokerServiceClient(conn).GetToken(ctx,
		&tokenbrokerv1.GetTokenRequest{Name: name, MinTtl: durationpb.New(time.Millisecond)}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatalf("asking %s for %s: %v", address, name, err)
	}
	return resp.GetToken()
}

func page(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status + "\n" + string(body)
}

func TestLeaderThatIsToldToStopHandsOverWithoutAFetch(t *testing.T) {
	s := newSite(t)
	first := s.serve(t, "one", tokenA+tokenB)
	second := s.serve(t, "two", tokenA+tokenB)
	before := ask(t, second.grpc, "b")
	first.err.await(t, "msg=leading")

	began := time.Now()
	first.stop()
	second.err.await(t, "msg=leading")
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("the hand-over took %v", took)
	}
	if code := first.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if after := ask(t, second.grpc, "b"); after.GetVersion() != before.GetVersion() || after.GetAccessToken() != before.GetAccessToken() {
		t.Errorf("version %d became %d", before.GetVersion(), after.GetVersion())
	}
	if n := s.wechat.Requests(wechattest.Classic); n != 1 {
		t.Errorf("%d classic fetches, want 1", n)
	}
}

func TestLeaderThatCannotReachTheUpstreamHandsOver(t *testing.T) {
	s := newSite(t)
	first := s.start(t, "one", strings.Replace(tokenA, "WECHAT", "http://"+closedPort(t), 1))
	first.err.await(t, "msg=leading")
	second := s.start(t, "two", tokenA)
	second.err.await(t, "msg=leading")
	if a, b := ask(t, first.grpc, "a"), ask(t, second.grpc, "a"); a.GetAccessToken() != b.GetAccessToken() {
		t.Error("the replicas hand out different tokens")
	}
}

func TestHangupAppliesTheTokensOfANewConfiguration(t *testing.T) {
	s := newSite(t)
	b := s.serve(t, "one", tokenA)
	version := ask(t, b.grpc, "a").GetVersion()
	reload := func(tokens, done string) {
		t.Helper()
		b.configure(t, s, "one", tokens)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		b.err.await(t, done)
	}

	if got := command(t.Context(), b.grpc, "", "status"); !strings.Contains(got, ": ahead of expiry") {
		t.Errorf("nothing is planned:\n%s", got)
	}
	reload(tokenA+tokenB, `added=[b] changed=[] removed=[]`)
	ask(t, b.grpc, "b")

	reload(strings.Replace(tokenA, "name: a,", "name: a, daily_budget: 77, refresh: [{every: 9h}],", 1)+tokenB, `added=[] changed=[a] removed=[]`)
	if got := command(t.Context(), b.grpc, "", "status"); !strings.Contains(got, "of 77") {
		t.Errorf("the new budget is not in force:\n%s", got)
	}
	if got := ask(t, b.grpc, "a").GetVersion(); got != version {
		t.Errorf("version %d became %d by a change of the budget", version, got)
	}

	reload(tokenA+"- {name: B}\n", "reloading failed; everything stays as it is")
	ask(t, b.grpc, "b")

	reload(strings.Replace(tokenA, "name: a,", "name: a, daily_budget: 77, refresh: [{every: 8h}],", 1), `added=[] changed=[a] removed=[b]`)
	if got := command(t.Context(), b.grpc, "", "get", "b"); !strings.Contains(got, "exit code 2") {
		t.Errorf("the token is still there:\n%s", got)
	}

	later := "snapshot: {file: " + s.dir + "/later.snapshot}\n"
	reload(tokenA+later, "setting=snapshot")
	reload(tokenA+strings.Replace(tokenB, "name: b", "name: bb", 1)+later, "added=[bb]")
	if n := strings.Count(b.err.String(), "setting=snapshot"); n != 2 {
		t.Errorf("of the setting that is not in force it was warned %d times at two reloads", n)
	}
}

func TestSecretsAreWrittenNowhere(t *testing.T) {
	s := newSite(t)
	b := s.serve(t, "one", tokenA+tokenB)
	values := []string{secretValue, ask(t, b.grpc, "a").GetAccessToken(), ask(t, b.grpc, "b").GetAccessToken()}
	if err := s.wechat.SetAccount("wx1", wechattest.Change{Refuse: new(40243)}); err != nil {
		t.Fatal(err)
	}
	seen := []string{page(t, b.http+"/metrics"), page(t, b.http+"/readyz"), page(t, b.http+"/livez")}
	for _, args := range []string{"list", "list -o json", "status", "status -o json", "refresh a", "report-invalid a --version 1 --timeout 1s", "get a", "status", "resign"} {
		seen = append(seen, command(t.Context(), b.grpc, "", strings.Fields(args)...))
	}
	if code := b.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	seen = append(seen, b.out.String(), b.err.String())
	all := strings.Join(seen, "\n")
	if !strings.Contains(all, "40243") || !strings.Contains(all, "tokenbroker_token_ttl_seconds") {
		t.Errorf("this is not what a full run writes:\n%s", all)
	}
	for i, value := range values {
		if strings.Contains(all, value) {
			t.Errorf("secret %d is written:\n%s", i, all)
		}
	}
}

func TestWebPagesTellLivenessAndReadiness(t *testing.T) {
	s := newSite(t)
	b := s.serve(t, "one", tokenA)
	for path, want := range map[string]string{"/livez": "200 OK\nok\n", "/readyz": "200 OK\nok\n", "/metrics": "tokenbroker_leading 1", "/other": "404"} {
		if path == "/metrics" {
			b.err.await(t, "msg=leading")
		}
		if got := page(t, b.http+path); !strings.Contains(got, want) {
			t.Errorf("%s: %q is not in %s", path, want, got)
		}
	}
}

func TestReplicaWithoutEtcdIsAliveButNotReady(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.yaml")
	text := strings.Replace(minimal, "127.0.0.1:2379", closedPort(t), 1) + "grpc: {listen: \"127.0.0.1:0\"}\nhttp: {listen: \"127.0.0.1:0\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, map[string]string{configVariable: file}, "serve")
	found := listening.FindStringSubmatch(p.err.await(t, "msg=starting"))
	if got := page(t, "http://"+found[2]+"/livez"); !strings.HasPrefix(got, "200") {
		t.Error(got)
	}
	if got := page(t, "http://"+found[2]+"/readyz"); !strings.HasPrefix(got, "503") {
		t.Error(got)
	}
	p.err.await(t, "an etcd does not answer")
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestReplicaServesAndEndsWhileEtcdIsAway(t *testing.T) {
	s := newSite(t)
	b := s.serve(t, "one", tokenA+tokenB)
	before := ask(t, b.grpc, "a")
	ask(t, b.grpc, "b") // so that no fetch is in flight, whose outcome the replica would wait to write
	s.etcd.Stop()
	if after := ask(t, b.grpc, "a"); after.GetVersion() != before.GetVersion() {
		t.Errorf("version %d became %d", before.GetVersion(), after.GetVersion())
	}
	began := time.Now()
	if code := b.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
}

func TestServeRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "broker.yaml")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tc := range []struct{ text, want string }{
		{"log: {level: loud}\n", "broker: serve: the configuration cannot be used\n" + file + ":3:14: log.level"},
		{"grpc: {listen: \"" + taken.Addr().String() + "\"}\n", "broker: serve: listening for gRPC: "},
		{"http: {listen: \"" + taken.Addr().String() + "\"}\ngrpc: {listen: \"127.0.0.1:0\"}\n", "broker: serve: listening for metrics and probes: "},
	} {
		if err := os.WriteFile(file, []byte(minimal+tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := command(t.Context(), "x:1", "", "serve", "--config", file); !strings.Contains(got, tc.want) || !strings.Contains(got, "exit code 1\n") {
			t.Errorf("%q is not in:\n%s", tc.want, got)
		}
	}
}

func TestReplicaThatListensEverywhereAdvertisesAName(t *testing.T) {
	for _, tc := range []struct{ listening, configured, want string }{
		{"127.0.0.1:7700", "", "127.0.0.1:7700"},
		{"10.0.0.1:7700", "broker-1:443", "broker-1:443"},
	} {
		addr, err := net.ResolveTCPAddr("tcp", tc.listening)
		if err != nil {
			t.Fatal(err)
		}
		if got := advertised(&config{Replica: replicaConfig{Advertise: tc.configured}}, addr); got != tc.want {
			t.Errorf("%v: got %s", tc, got)
		}
	}
	got := advertised(&config{Replica: replicaConfig{ID: "x"}}, &net.TCPAddr{IP: net.IPv6unspecified, Port: 7700})
	if host, port, err := net.SplitHostPort(got); err != nil || host == "" || host == "::" || port != "7700" {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestEmbeddedEtcdKeepsTokensOverARestart(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.dir, "broker.yaml")
	text := strings.NewReplacer("DIR", filepath.Join(s.dir, "data"), "WECHAT", s.url).Replace(`
plaintext: true
insecure_plaintext_store: true
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
etcd: {embedded: {data_dir: DIR, listen_client: "http://127.0.0.1:0", listen_peer: "http://127.0.0.1:0"}}
election: {session_ttl: 2s}
tokens:
` + tokenA)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var values []string
	for range 2 {
		p := launch(t, nil, "serve", "-c", file)
		found := listening.FindStringSubmatch(p.err.await(t, "msg=starting"))
		values = append(values, ask(t, found[1], "a").GetAccessToken())
		if code := p.exit(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	if values[0] != values[1] || s.wechat.Requests(wechattest.Stable) != 1 {
		t.Errorf("the token was fetched anew: %d requests", s.wechat.Requests(wechattest.Stable))
	}
}

func TestDemonstrationIsReadyForEverythingItSuggests(t *testing.T) {
	p := launch(t, nil, "dev", "--replicas", "2", "--token-ttl", "60s", "--grpc-port", "0", "--http-port", "0", "--etcd-port", "0", "--wechat-port", "0")
	shown := p.out.await(t, "Ctrl-C ends it.")
	for _, want := range []string{"NOT FOR PRODUCTION", "nothing is encrypted", "Tokens live 1m.", "dev-2", "etcdctl --endpoints http://127.0.0.1:"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in:\n%s", want, shown)
		}
	}
	var versions []int64
	for _, found := range regexp.MustCompile(`dev-\d +gRPC (\S+)`).FindAllStringSubmatch(shown, -1) {
		for _, name := range demoTokens {
			versions = append(versions, ask(t, found[1], name).GetVersion())
		}
	}
	if len(versions) != 4 || versions[0] != versions[2] || versions[1] != versions[3] {
		t.Errorf("versions %v", versions)
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestDemonstrationRefusesWhatIsNotPossible(t *testing.T) {
	for _, args := range []string{"--replicas 0", "--replicas 10", "--token-ttl 19s", "--token-ttl 3h", "--token-ttl 30500ms", "--log-level loud"} {
		if got := command(t.Context(), "x:1", "", append([]string{"dev"}, strings.Fields(args)...)...); !strings.Contains(got, "exit code 64") {
			t.Errorf("%s is accepted:\n%s", args, got)
		}
	}
}

func TestKnownBadVersionsOfEtcdAreRecognised(t *testing.T) {
	for version, want := range map[string]bool{
		"3.4.37": true, "3.5.32": true, "3.5.33": false, "3.6.13": true, "3.6.14": false, "3.7.0": true, "3.7.3": false, "3.8.0": false, "unknown": false,
	} {
		if got := unsafeVersion(version); got != want {
			t.Errorf("%s: %v", version, got)
		}
	}
}
