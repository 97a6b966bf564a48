package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func (h *house) brokers() []*broker { return []*broker{h.first, h.second} }

func TestNothingThatIsWrittenShowsASecretOrAToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.failures(t)
	h.look(t, "in trouble", h.first, h.second)
	h.askInVain(t)
	h.heal(t)
	h.reports(t)
	h.orders(t)
	h.mistakes(t)
	h.look(t, "healed", h.first, h.second)
	h.ends(t)

	stored := newEvidence() // this etcd is not sealed: tokens lie open in it, but no secret ever comes there
	stored.folder(t, "etcd's files", h.data)
	if !stored.has("etcd's files", "/tokenbroker/") {
		t.Error("these are not etcd's files")
	}
	stored.search(t, h.values)

	for name, w := range h.wechats {
		history := w.History()
		if len(history) == 0 {
			t.Errorf("%s: no token was ever issued", name)
		}
		for i, issued := range history {
			h.values[fmt.Sprintf("token %d of %s", i+1, name)] = issued.Token
		}
	}
	h.found.search(t, h.values)
}

// failures waits until every trouble is known to both replicas, and asks for the tokens that are not there.
func (h *house) failures(t *testing.T) {
	t.Helper()
	for _, b := range h.brokers() {
		for _, tr := range h.troubles {
			eventually(t, ample, b.id+" knows of "+tr.code+" for "+tr.name, func() bool {
				for _, token := range b.status(t).GetTokens() {
					if token.GetName() == tr.name {
						return token.GetLastFailure().GetCode() == tr.code
					}
				}
				return false
			})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	var calls sync.WaitGroup // each waits a second for a token to come
	for _, tr := range h.troubles {
		calls.Go(func() {
			_, err := h.second.service().GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: tr.name})
			where := "the answer to GetToken " + tr.name
			h.found.error(t, where, err)
			if !h.found.has(where, "upstream_code") { // which may be that of a later attempt
				t.Errorf("%s does not say why there is none: %v", where, err)
			}
		})
	}
	calls.Wait()
}

// look reads every page and every table of some replicas.
func (h *house) look(t *testing.T, when string, brokers ...*broker) {
	t.Helper()
	for _, b := range brokers {
		for _, page := range []string{"/metrics", "/livez", "/readyz", "/debug/pprof/goroutine", "/"} {
			code, text := fetch(t, "http://"+b.http+page)
			h.found.add(b.id+page+" "+when, fmt.Sprint(code, text))
		}
		if !h.found.has(b.id+"/metrics "+when, "tokenbroker_token_ttl_seconds") {
			t.Errorf("%s shows no metrics", b.id)
		}
		h.found.message(t, b.id+" GetStatus "+when, b.status(t))
		list, err := b.service().ListTokens(t.Context(), &tokenbrokerv1.ListTokensRequest{})
		if err != nil {
			t.Errorf("%s: listing: %v", b.id, err)
		}
		h.found.message(t, b.id+" ListTokens "+when, list)
		for _, line := range []string{"list", "list -o json", "status", "status -o json", "healthcheck"} {
			h.run(t, append(strings.Fields(line), "--server", b.grpc)...)
		}
		h.run(t, "healthcheck", "--http", "http://"+b.http+"/readyz")
	}
}

// askInVain runs commands that cannot be answered as wished; most of them wait for something.
func (h *house) askInVain(t *testing.T) {
	t.Helper()
	var commands sync.WaitGroup
	for _, line := range []string{
		"get echo", "get echo -o json", "get unknown", "get Bad", "get echo --min-ttl 3h", "get closed --timeout 1s", "watch unknown",
		"report-invalid echo --version 99 --timeout 1s", "report-invalid closed --version 1 --timeout 1s",
		"get echo --server nowhere", "get echo --server 127.0.0.1:1 --timeout 200ms",
	} {
		commands.Go(func() { h.run(t, append([]string{"--server", h.second.grpc}, strings.Fields(line)...)...) })
	}
	commands.Wait()
}

// run runs a command that is not to show a token, and keeps what it writes.
func (h *house) run(t *testing.T, args ...string) {
	t.Helper()
	h.found.add("broker "+strings.Join(args, " "), fmt.Sprint(command(t, args...)))
}

// heal ends the troubles, and waits until every token is there, that can be.
func (h *house) heal(t *testing.T) {
	t.Helper()
	var orders sync.WaitGroup
	for name, w := range h.wechats {
		w.ClearFaults()
		orders.Go(func() { h.run(t, "refresh", name, "--server", h.second.grpc) }) // the back-off may be long
	}
	orders.Wait()
	for name := range h.wechats {
		for _, b := range h.brokers() {
			firstToken(t, b, name)
		}
	}
}

// reports reports tokens dead while WeChat cannot be asked, and while it confirms.
func (h *house) reports(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	for name, fault := range map[string]wechattest.Fault{
		"address": {Kind: wechattest.Garbage, Body: `{"errcode":48001,"errmsg":"TOKEN is not allowed, not even URL rid: 1"}`},
		"frozen":  {Kind: wechattest.Drop},
		"busy":    {Kind: wechattest.Status, Status: 502},
		"hang":    {Kind: wechattest.Hang},
	} {
		token := firstToken(t, h.first, name)
		fault.Endpoint = wechattest.DomainIP
		fault.Body = strings.NewReplacer("TOKEN", token.GetAccessToken()).Replace(fault.Body)
		if err := h.wechats[name].AddFault(fault); err != nil {
			t.Fatal(err)
		}
		_, err := h.second.service().ReportInvalidToken(ctx, &tokenbrokerv1.ReportInvalidTokenRequest{
			Name: name, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_AccessToken{AccessToken: token.GetAccessToken()},
		})
		h.found.error(t, "the answer to a report of "+name, err)
		h.wechats[name].ClearFaults()
	}
	dead := firstToken(t, h.second, "echo")
	if !h.wechats["echo"].Kill(dead.GetAccessToken()) {
		t.Error("the token was dead already")
	}
	r := commandWith(t, dead.GetAccessToken()+"\n", "report-invalid", "echo", "--stdin", "--server", h.second.grpc)
	h.found.add("broker report-invalid --stdin", fmt.Sprint(r))
	if fresh := firstToken(t, h.second, "echo"); r.code != 0 || fresh.GetVersion() != dead.GetVersion()+1 {
		t.Errorf("the report ends with exit code %d and version %d after %d", r.code, fresh.GetVersion(), dead.GetVersion())
	}
}

// orders has operators do what they can.
func (h *house) orders(t *testing.T) {
	t.Helper()
	watch := start(t, nil, program, "watch", "nonsense", "--server", h.first.grpc)
	watch.out.await(t, "active")
	for _, line := range []string{
		"refresh cut", "refresh nonsense --force --yes", "refresh nonsense --force --yes", "refresh nonsense --force", "refresh quota --force --yes",
		"refresh closed --timeout 5s", "refresh unknown", "resign", "version", "--help", "serve --help",
	} {
		args := strings.Fields(line)
		if args[0] == "refresh" || args[0] == "resign" {
			args = append(args, "--server", h.second.grpc)
		}
		h.run(t, args...)
	}
	watch.signal(t, os.Interrupt)
	watch.exit(t)
	h.found.process("broker watch", watch)
	if !h.found.has("broker watch, standard output", "...") {
		t.Error("the watch showed no token")
	}
	for _, call := range []struct {
		what string
		err  func(context.Context) error
	}{
		{"GetToken min_ttl", func(ctx context.Context) error {
			_, err := h.first.service().GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: "echo", MinTtl: durationpb.New(time.Hour)})
			return err
		}},
		{"ReportInvalidToken nothing", func(ctx context.Context) error {
			_, err := h.first.service().ReportInvalidToken(ctx, &tokenbrokerv1.ReportInvalidTokenRequest{Name: "echo"})
			return err
		}},
		{"RefreshToken force", func(ctx context.Context) error {
			_, err := h.first.admin().RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: "quota", Force: true})
			return err
		}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), ample)
		h.found.error(t, "the answer to "+call.what, call.err(ctx))
		cancel()
	}
}

// mistakes gives the broker configurations and command lines that are wrong, some of which hold a secret where none belongs.
func (h *house) mistakes(t *testing.T) {
	t.Helper()
	secret := h.values["the AppSecret of echo"]
	wrong := fmt.Sprintf(`replica: {id: first}
etcd: {endpoints: ["http://user:%[1]s@127.0.0.1:1"], username: u, password: %[2]q}
tokens:
  - {name: echo, wechat: {appid: wx-echo, secret: %[2]q, base_url: "http://user:%[1]s@127.0.0.1:1/?secret=%[1]s"}}
  - {name: echo2, wechat: {appid: wx-echo, secret: {file: %[2]q}}}
  - {name: echo3, wechat: {appid: wx-echo, secret: {env: %[2]q}}}
`, "p4ss-"+strings.Repeat("x", pieceSize), secret)
	h.values["a password in a URL"] = "p4ss-" + strings.Repeat("x", pieceSize)
	file := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(file, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"config", "validate", file}, {"config", "validate", "-o", "json", file}, {"serve", "--config", file}, {"serve", "--config", filepath.Dir(file)},
		{"config", "validate", "--no-secrets", h.first.file}, {"config", "validate", "-o", "json", "--no-secrets", h.first.file},
		{"serve", "--log-level", "loud", "--config", h.first.file}, {"get"}, {"get", "echo", "--output", "xml"}, {"frobnicate"}, {"dev", "--replicas", "0"},
		{"report-invalid", "echo"},
	} {
		h.run(t, args...)
	}
	r := commandWith(t, "not: [yaml\n"+secret, "config", "validate", "-")
	h.found.add("broker config validate -", fmt.Sprint(r))

	good, err := os.ReadFile(h.first.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{wrong, string(good)} {
		if err := os.WriteFile(h.first.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h.first.signal(t, syscall.SIGHUP)
		h.first.err.await(t, map[bool]string{true: "everything stays as it is", false: "reloaded the configuration"}[text == wrong])
	}
}

// ends ends the replicas in every way, one while a fetch is under way, and keeps all that they wrote.
func (h *house) ends(t *testing.T) {
	t.Helper()
	h.second.stop(t)
	h.found.process("second", h.second.process)
	h.spoil(t)
	h.second.restart(t)
	h.second.err.await(t, "the snapshot is refused")
	eventually(t, ample, "the first replica leads", func() bool { return h.first.status(t).GetReplica().GetLeading() })

	hanging := h.wechats["frozen"]
	before := hanging.Requests(wechattest.Stable)
	if err := hanging.AddFault(wechattest.Fault{Endpoint: wechattest.Stable, Kind: wechattest.Hang, When: wechattest.After}); err != nil {
		t.Fatal(err)
	}
	var order sync.WaitGroup
	order.Go(func() { h.run(t, "refresh", "frozen", "--timeout", "5s", "--server", h.second.grpc) })
	defer order.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	if err := hanging.Await(ctx, func() bool { return hanging.Requests(wechattest.Stable) > before }); err != nil {
		t.Fatal(err)
	}
	h.first.signal(t, syscall.SIGQUIT)
	h.first.exit(t)

	// The etcd is gone with it.
	h.second.err.await(t, "standing for election failed")
	eventually(t, ample, "the second replica misses etcd", func() bool {
		return h.second.status(t).GetReplica().GetViewAge().AsDuration() > 2*sessionTTL
	})
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := h.second.admin().RefreshToken(soon, &tokenbrokerv1.RefreshTokenRequest{Name: "waiting"})
	h.found.error(t, "the answer to RefreshToken without etcd", err)
	h.look(t, "without etcd", h.second)
	h.second.signal(t, syscall.SIGQUIT)
	h.second.exit(t)
	for _, b := range h.brokers() {
		h.found.process(b.id, b.process)
		if !h.found.has(b.id+", standard error", "goroutine ") {
			t.Errorf("%s has dumped no stacks", b.id)
		}
	}
	h.keepsakes(t)
}

// spoil damages the second replica's snapshot.
func (h *house) spoil(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(h.snapshots[h.second])
	if err == nil {
		err = os.WriteFile(h.snapshots[h.second], data[:len(data)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// keepsakes takes the snapshots for evidence. As in etcd, sealing hides nothing yet: what is sealed is left out.
func (h *house) keepsakes(t *testing.T) {
	t.Helper()
	for b, file := range h.snapshots {
		versions, open := kept(t, file)
		if len(versions) != len(h.wechats) || !strings.Contains(open, "last_failure") {
			t.Errorf("%s has kept %d tokens, want %d, with their failures", b.id, len(versions), len(h.wechats))
		}
		h.found.add(b.id+"'s snapshot", open)
	}
}

func TestDemonstrationWritesNoToken(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "--replicas", "2", "--log-level", "debug")
	values := map[string]string{}
	for _, name := range []string{"demo-stable", "demo-classic"} {
		values[name] = strings.TrimSpace(get(t, d.grpc[0], name, "value"))
	}
	command(t, "refresh", "demo-stable", "--force", "--yes", "--server", d.grpc[1])
	values["the second demo-stable"] = strings.TrimSpace(get(t, d.grpc[1], "demo-stable", "value"))
	found := newEvidence()
	for _, address := range d.http {
		_, page := fetch(t, "http://"+address+"/metrics")
		found.add(address+"/metrics", page)
	}
	d.signal(t, syscall.SIGQUIT)
	d.exit(t)
	found.process("broker dev", d.process)
	if !found.has("broker dev, standard error", "goroutine ") || !found.has("broker dev, standard error", "msg=fetched") {
		t.Error("this is not what a demonstration writes")
	}
	found.search(t, values)
}
