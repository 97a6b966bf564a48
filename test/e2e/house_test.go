package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// trouble is one token whose first fetches fail in its own way.
type trouble struct {
	name, mode string
	fault      wechattest.Fault
	// code is how the failure is known to operators.
	code string
	// base replaces WeChat's address: what is there never answers as WeChat does.
	base string
}

// house is two replicas, one of which has the etcd, and a WeChat for each token.
type house struct {
	first, second *broker
	troubles      []trouble
	wechats       map[string]*wechattest.WeChat
	values        map[string]string // all that must not be seen, by what it is
	tokens        string            // the section of the configuration
	snapshots     map[*broker]string
	data          string // etcd's folder
	found         *evidence
}

// foreignToken stands in an answer that makes no sense: a token that was issued, and that no broker may use or show.
const foreignToken = "76_foreign-9xKq2LmZ8vTc4RbN7wYs3HdJ6pFg5"

// echo stands for an answer that repeats the secret in every disguise.
const echo = "ECHO"

// troubles lists every kind of failure: what WeChat refuses, what makes no sense, what is lost on the way. Nobody listens on the address
// closed; on plain somebody does who knows no TLS.
func troubles(closed, plain string) []trouble {
	errcode := func(code int) wechattest.Fault { return wechattest.Fault{Kind: wechattest.Errcode, Code: code} }
	return []trouble{
		{name: "address", mode: "stable", fault: errcode(40164), code: "40164"},
		{name: "quota", mode: "classic", fault: errcode(45009), code: "45009"},
		{name: "frozen", mode: "stable", fault: errcode(40243), code: "40243"},
		{name: "waiting", mode: "classic", fault: errcode(89503), code: "89503"},
		{name: "busy", mode: "stable", fault: errcode(-1), code: "-1"},
		{name: "unlisted", mode: "classic", fault: errcode(99999), code: "99999"},
		{name: "echo", mode: "stable", fault: wechattest.Fault{Kind: wechattest.Garbage, Body: echo}, code: "40125"},
		{name: "garbage", mode: "classic", fault: wechattest.Fault{Kind: wechattest.Garbage}, code: "malformed"},
		{name: "nonsense", mode: "stable", fault: wechattest.Fault{
			Kind: wechattest.Garbage, Body: `{"access_token":"` + foreignToken + `","expires_in":"soon"}`,
		}, code: "malformed"},
		{name: "status", mode: "classic", fault: wechattest.Fault{Kind: wechattest.Status, Status: 500, When: wechattest.After}, code: "http_500"},
		{name: "hang", mode: "stable", fault: wechattest.Fault{Kind: wechattest.Hang, When: wechattest.After}, code: "timeout"},
		{name: "drop", mode: "classic", fault: wechattest.Fault{Kind: wechattest.Drop, When: wechattest.After}, code: "connection_lost"},
		{name: "cut", mode: "stable", fault: wechattest.Fault{Kind: wechattest.Truncated, When: wechattest.After}, code: "truncated"},
		{name: "closed", mode: "classic", code: "dial", base: "http://" + closed},
		{name: "plain", mode: "classic", code: "tls", base: "https://" + plain},
	}
}

// newHouse starts everything. Each secret is of characters that need quoting everywhere, tokens are long, and the programs log all they
// can, gRPC's own messages included.
func newHouse(t *testing.T) *house {
	t.Helper()
	_, plainURL := newWeChat(t, wechattest.Config{})
	h := &house{
		troubles: troubles(etcdtest.FreeAddress(t), strings.TrimPrefix(plainURL, "http://")),
		wechats:  map[string]*wechattest.WeChat{}, values: map[string]string{"a foreign token": foreignToken}, found: newEvidence(),
		snapshots: map[*broker]string{},
	}
	env, list, dir := []string{"GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=99"}, new(strings.Builder), t.TempDir()
	for i, tr := range h.troubles {
		secret := fmt.Sprintf(`S%02d+/=&?%%"<>'\~%s`, i, rand.Text())
		h.values["the AppSecret of "+tr.name] = secret
		if tr.base == "" {
			tr.base = h.wechat(t, tr, secret)
		}
		reference := fmt.Sprintf("{env: SECRET_%d}", i)
		if i%2 == 0 {
			reference = fmt.Sprintf("{file: %s}", filepath.Join(dir, tr.name))
			if err := os.WriteFile(filepath.Join(dir, tr.name), []byte(secret+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			env = append(env, fmt.Sprintf("SECRET_%d=%s", i, secret))
		}
		fmt.Fprintf(list, "  - {name: %s, wechat: {mode: %s, appid: wx-%s, secret: %s, base_url: %q, max_life: 10m, overlap: 10s}}\n",
			tr.name, tr.mode, tr.name, reference, tr.base)
	}
	h.tokens, h.data = list.String(), filepath.Join(dir, "data")
	client := "http://" + etcdtest.FreeAddress(t)
	h.first = newBroker(t, "first", fmt.Sprintf("{embedded: {data_dir: %s, listen_client: %q, listen_peer: %q}}",
		h.data, client, "http://127.0.0.1:0"), h.tokens)
	h.second = newBroker(t, "second", "{endpoints: ["+client+"]}", h.tokens)
	h.second.logFormat = "json"
	for _, b := range []*broker{h.first, h.second} {
		b.env = slices.Clone(env)
		h.snapshots[b] = b.snapshots(t)
		b.launch(t)
		b.awaitReady(t)
	}
	return h
}

// wechat starts a WeChat of its own for one token, with its trouble, and returns the base URL.
func (h *house) wechat(t *testing.T, tr trouble, secret string) string {
	t.Helper()
	w, err := wechattest.New(wechattest.Config{
		Accounts:  []wechattest.Account{{AppID: "wx-" + tr.name, Secret: secret}},
		TokenLife: 10 * time.Minute, Overlap: 10 * time.Second, MinTokenSize: 512, MaxTokenSize: 4096, Seed: uint64(len(h.wechats)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if tr.fault.Body == echo {
		quoted, _ := json.Marshal(secret) // strings can always be marshalled
		said := []string{
			secret, strings.ToUpper(secret), url.QueryEscape(secret), url.PathEscape(secret), string(quoted), html.EscapeString(secret),
			hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte("app" + secret)),
		}
		message, _ := json.Marshal("invalid appsecret " + strings.Join(said, " ") + " rid: 5fa26c60-1a0ebdd5-32fd1cd0")
		tr.fault.Body = fmt.Sprintf(`{"errcode":40125,"errmsg":%s}`, message)
	}
	if err := w.AddFault(tr.fault); err != nil {
		t.Fatal(err)
	}
	h.wechats[tr.name] = w
	web := httptest.NewServer(w)
	t.Cleanup(func() {
		w.ClearFaults()
		web.Close()
	})
	return web.URL
}
