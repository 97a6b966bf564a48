package wechat_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appid  = "wx0123456789abcdef"
	secret = "c4n4ry0123456789abcdef0123456789"
)

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// newClient returns a client of the server at base.
func newClient(t *testing.T, base string, cfg wechat.Config) *wechat.Client {
	t.Helper()
	cfg.BaseURL, cfg.HTTP.Proxy = base, noProxy
	if cfg.AppID == "" {
		cfg.AppID = appid
	}
	if cfg.Secret.IsZero() {
		cfg.Secret = token.NewSecret(secret)
	}
	client, err := wechat.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// simulate serves a simulated WeChat and returns a client of it.
func simulate(t *testing.T, cfg wechat.Config, sim wechattest.Config) (*wechat.Client, *wechattest.WeChat) {
	t.Helper()
	if sim.Accounts == nil {
		sim.Accounts = []wechattest.Account{{AppID: appid, Secret: secret}}
	}
	w, err := wechattest.New(sim)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w)
	t.Cleanup(func() {
		w.ClearFaults()
		server.Close()
	})
	return newClient(t, server.URL, cfg), w
}

// answering returns a client of a server that always answers the same.
func answering(t *testing.T, cfg wechat.Config, status int, body string) *wechat.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return newClient(t, server.URL, cfg)
}

// fail fetches, which must fail, and returns how.
func fail(t *testing.T, ctx context.Context, client *wechat.Client) *token.Failure {
	t.Helper()
	grant, err := client.Fetch(ctx, token.FetchRequest{})
	if err == nil {
		t.Fatalf("got a token for %v, want a failure", grant.Life)
	}
	if !grant.Value.IsZero() || grant.Life != 0 {
		t.Error("there is a token beside the failure")
	}
	return failure(t, err)
}

func failure(t *testing.T, err error) *token.Failure {
	t.Helper()
	f, ok := errors.AsType[*token.Failure](err)
	if !ok {
		t.Fatalf("the error is a %T (%v), want a *token.Failure", err, err)
	}
	return f
}
