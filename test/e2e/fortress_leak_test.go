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

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// With everything switched on that keeps secrets, there is more that could be written: callers' credentials, keys, an audit log. And there is less
// that may be: in etcd, in its files and in the snapshots no token is to be seen any more.
func TestNothingOfASecuredClusterShowsASecretOrAToken(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	f.serve(t)
	f.refuse(t)
	f.askWithSecretsInWrongPlaces(t)
	f.operate(t)
	f.lendToAnAgent(t)
	f.misconfigure(t)
	f.end(t)

	for i, issued := range f.wechat.History() {
		f.values[fmt.Sprintf("token %d", i+1)] = issued.Token
	}
	for where, text := range map[string]string{ // what was searched is what was meant
		"east, standard error": `"msg":"fetched"`, "the audit log of east": "token:reader", "the audit log of west": "client:till", "etcd": stable, "etcd's files": "/tokenbroker/",
		"the snapshot of east": stable, "the snapshot of west": classic, "east /metrics": "tokenbroker_token_ttl_seconds", "west, standard error": "goroutine ",
	} {
		if !f.found.has(where, text) {
			t.Errorf("%s has no %q", where, text)
		}
	}
	f.found.search(t, f.values)
	f.found.mustFindWhatIsPlanted(t, f.values)
}

// serve hands out tokens to everybody who may have them.
func (f *fortress) serve(t *testing.T) {
	t.Helper()
	for _, b := range f.replicas {
		for who, conn := range map[string]*grpc.ClientConn{
			"the reader": f.dial(t, b, f.reader, nil), "a JWT": f.dial(t, b, f.web, nil), "a certificate": f.dial(t, b, "", &f.ops), "both": f.dial(t, b, f.operator, &f.ops),
		} {
			ctx, cancel := context.WithTimeout(traced(t.Context()), ample)
			resp, err := tokenbrokerv1.NewTokenBrokerServiceClient(conn).GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: stable})
			cancel()
			if err != nil || resp.GetToken().GetAccessToken() == "" {
				t.Errorf("%s gets no token from %s: %v", who, b.id, err)
			}
		}
		gateway := "https://" + b.gateway
		f.ask(t, b.id+" GET", gateway+"/v1/tokens/"+classic, "Bearer "+f.reader, true)
		f.ask(t, b.id+" GET by JWT", gateway+"/v1/tokens/"+stable, "Bearer "+f.web, true)
		f.ask(t, b.id+" cgi-bin", gateway+wechatClassic+f.till, "", true)
		for page, address := range map[string]string{
			"/metrics": b.http, "/livez": b.http, "/readyz": b.http, "/": b.http, "/v1/status": b.gateway, "/v1/tokens": b.gateway, "/openapi.json": b.gateway,
		} {
			f.ask(t, b.id+" "+page, "https://"+address+page, "Bearer "+f.operator, false)
			f.ask(t, b.id+" "+page+" for nobody", "https://"+address+page, "", false)
		}
	}
}

// refuse asks with credentials that are not good, or not good for this.
func (f *fortress) refuse(t *testing.T) {
	t.Helper()
	east := f.replicas[0]
	late := f.secret("an unknown token", "unknown-0123456789-abcdefghij")
	for who, credential := range map[string]string{
		"nobody": "", "the outsider": f.outsider, "an expired JWT": f.expired, "a forged JWT": f.forged, "half a JWT": f.web[:len(f.web)-30], "an unknown token": late,
	} {
		conn := f.dial(t, east, credential, nil)
		service, admin := tokenbrokerv1.NewTokenBrokerServiceClient(conn), tokenbrokerv1.NewAdminServiceClient(conn)
		for what, call := range map[string]func(context.Context) error{
			"GetToken": func(ctx context.Context) error {
				_, err := service.GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: stable})
				return err
			},
			"WatchToken": func(ctx context.Context) error {
				stream, err := service.WatchToken(ctx, &tokenbrokerv1.WatchTokenRequest{Name: stable})
				if err == nil {
					_, err = stream.Recv()
				}
				return err
			},
			"ReportInvalidToken": func(ctx context.Context) error {
				_, err := service.ReportInvalidToken(ctx, &tokenbrokerv1.ReportInvalidTokenRequest{
					Name: stable, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_AccessToken{AccessToken: f.wechat.History()[0].Token},
				})
				return err
			},
			"RefreshToken": func(ctx context.Context) error {
				_, err := admin.RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: stable, Force: true})
				return err
			},
			"GetStatus": func(ctx context.Context) error {
				_, err := admin.GetStatus(ctx, &tokenbrokerv1.GetStatusRequest{})
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(traced(t.Context()), ample)
			f.found.error(t, "the answer to "+what+" for "+who, call(ctx))
			cancel()
		}
		if credential != "" {
			f.ask(t, "the answer to GET for "+who, "https://"+east.gateway+"/v1/tokens/"+stable, "Bearer "+credential, false)
		}
	}
}

// askWithSecretsInWrongPlaces is what happens when somebody mistakes one field for another.
func (f *fortress) askWithSecretsInWrongPlaces(t *testing.T) {
	t.Helper()
	west := f.replicas[1]
	gateway, token := "https://"+west.gateway, f.wechat.History()[0].Token
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	service := tokenbrokerv1.NewTokenBrokerServiceClient(f.dial(t, west, f.reader, nil))
	for _, name := range []string{token[:60], f.reader, f.till} {
		_, err := service.GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: name})
		if err == nil {
			t.Error("a secret is a token's name")
		}
	}
	for what, url := range map[string]string{
		"a wrong client secret": gateway + wechatClassic + f.secret("a wrong client secret", "wrong0123456789clientsecret"), "a token as a secret": gateway + wechatClassic + f.reader,
		"an unknown parameter": gateway + "/v1/tokens/" + stable + "?access_token=" + token[:100], "an unknown path": gateway + "/v2/" + f.reader,
		"no such page": "https://" + west.http + "/" + f.operator, "a plain request": "http://" + west.gateway + wechatClassic + f.till,
	} {
		f.ask(t, "the answer to "+what, url, "", false)
	}
	for what, authorization := range map[string]string{
		"Basic": "Basic " + f.reader, "no scheme": f.reader, "two words": "Bearer " + f.reader + " " + f.operator, "an AppSecret": "Bearer " + f.values["the AppSecret"],
	} {
		f.ask(t, "the answer to "+what, gateway+"/v1/tokens/"+stable, authorization, false)
	}
}

// run runs a command as somebody, and keeps what it writes. It is not to show a token.
func (f *fortress) run(t *testing.T, as string, args ...string) {
	t.Helper()
	b := f.replicas[0]
	r := command(t, append(args, "--server", b.grpc, "--ca-file", f.path("ca.pem"), "--bearer-token-file", f.path(as+"-token"))...)
	f.found.add("broker "+strings.Join(args, " "), fmt.Sprint(r))
}

// operate gives orders, also while WeChat repeats what it was told.
func (f *fortress) operate(t *testing.T) {
	t.Helper()
	echoed := wechattest.Fault{Kind: wechattest.Garbage, Body: fmt.Sprintf(`{"errcode":40125,"errmsg":%q}`, f.values["the AppSecret"])}
	if err := f.wechat.AddFault(echoed); err != nil {
		t.Fatal(err)
	}
	f.run(t, "operator", "refresh", stable, "--timeout", "10s")
	f.wechat.ClearFaults()
	for _, line := range []string{
		"refresh " + stable, "refresh " + stable + " --force --yes", "status", "status -o json", "list", "list -o json", "healthcheck", "get unknown", "get " + stable + " --min-ttl 3h",
	} {
		f.run(t, "operator", strings.Fields(line)...)
		f.run(t, "outsider", strings.Fields(line)...)
	}
	for _, b := range f.replicas {
		b.signal(t, syscall.SIGHUP)
		b.err.await(t, "reloaded the configuration")
	}
}

// lendToAnAgent has an agent keep a token in a file, and keeps everything else that it writes.
func (f *fortress) lendToAnAgent(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	b := f.replicas[0]
	agent := start(t, nil, program, "agent", "--server", b.grpc, "--ca-file", f.path("ca.pem"), "--bearer-token-file", f.path("reader-token"),
		"--http-listen", "unix://"+filepath.Join(dir, "agent.sock"), "--file", stable+"="+filepath.Join(dir, "token.json"), "--log-level", "debug")
	eventually(t, ample, "the agent has written its file", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "token.json"))
		return err == nil && strings.Contains(string(text), "access_token") || !agent.running()
	})
	agent.signal(t, syscall.SIGQUIT)
	agent.exit(t)
	f.found.process("the agent", agent)
	if err := os.Remove(filepath.Join(dir, "token.json")); err != nil {
		t.Error(err)
	}
	f.found.folder(t, "the agent's folder", dir)
}

// misconfigure starts brokers with secrets in wrong places of their files.
func (f *fortress) misconfigure(t *testing.T) {
	t.Helper()
	good, err := os.ReadFile(f.replicas[0].config)
	if err != nil {
		t.Fatal(err)
	}
	keyset, err := os.ReadFile(f.path("keyset"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(f.path("server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "half-a-keyset", string(keyset[:len(keyset)-10]))
	f.write(t, "raw-callers", "reader "+f.reader+"\n"+f.operator+"\n")
	f.write(t, "half-a-key.pem", string(key[:len(key)-60]))
	for what, change := range map[string][2]string{
		"a keyset in the configuration":  {"file: " + f.path("keyset"), "file: " + strings.Join(strings.Fields(string(keyset)), "")[:200]},
		"half a keyset":                  {f.path("keyset"), f.path("half-a-keyset")},
		"tokens instead of hashes":       {f.path("callers"), f.path("raw-callers")},
		"half a key":                     {f.path("server-key.pem"), f.path("half-a-key.pem")},
		"a password in the file":         {"{file: " + f.path("etcd-password") + "}", f.values["the broker's password at etcd"]},
		"a key instead of a certificate": {f.path("server.pem"), f.path("server-key.pem")},
		"a key instead of keys":          {f.path("jwks"), f.path("server-key.pem")},
	} {
		text := strings.Replace(string(good), change[0], change[1], 1)
		if text == string(good) {
			t.Errorf("%s: nothing was changed", what)
		}
		file := f.write(t, "wrong.yaml", text)
		for _, args := range [][]string{{"config", "validate", file}, {"serve", "--config", file}} {
			r := command(t, args...)
			if r.code == 0 {
				t.Errorf("%s: broker %s accepts it", what, args[0])
			}
			f.found.add("broker "+args[0]+" with "+what, fmt.Sprint(r))
		}
	}
}

// end takes all that was written. Both replicas end with a dump of their stacks.
func (f *fortress) end(t *testing.T) {
	t.Helper()
	for _, b := range f.replicas {
		eventually(t, ample, b.id+" has written a snapshot", func() bool { info, err := os.Stat(b.snapshot); return err == nil && info.Size() > 0 })
	}
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	all, err := f.db.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range all.Kvs {
		f.found.add("etcd", string(kv.Key)+" "+string(kv.Value))
	}
	var ends sync.WaitGroup
	for _, b := range f.replicas {
		ends.Go(func() {
			b.signal(t, syscall.SIGQUIT)
			b.exit(t)
		})
	}
	ends.Wait()
	for _, b := range f.replicas {
		f.found.process(b.id, b.process)
		for what, path := range map[string]string{"the audit log of ": b.audit, "the snapshot of ": b.snapshot} {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			f.found.add(what+b.id, string(data))
		}
	}
	f.etcd.Stop()
	f.found.folder(t, "etcd's files", f.etcd.DataDir())
}

// mustFindWhatIsPlanted plants each value in one of the places, in one disguise after the other, and has the search find it there.
func (e *evidence) mustFindWhatIsPlanted(t *testing.T, values map[string]string) {
	t.Helper()
	began := time.Now()
	places := e.places()
	i := 0
	for name, value := range values {
		where := places[i%len(places)]
		disguises := forms(value)
		planted := newEvidence()
		planted.add(where, e.text(where)+"\n"+strings.Repeat("x", i%3)+disguises[i%len(disguises)]+"y")
		if len(planted.leaks(map[string]string{name: value})) == 0 {
			t.Errorf("%s was planted in %s, and not found", name, where)
		}
		i++
	}
	t.Logf("planted and found %d values in %d places in %v", i, len(places), time.Since(began))
}
