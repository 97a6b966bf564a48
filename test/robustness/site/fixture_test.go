package site_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

const (
	stable  = "stable"
	classic = "classic"
	// ample bounds what takes seconds at most on an idle machine, and soon is too short for what never comes.
	ample = time.Minute
	soon  = 300 * time.Millisecond
)

// start starts a site, which ends with the test; nothing may have gone wrong by itself.
func start(t *testing.T) (*site.Site, *history.Recorder) {
	t.Helper()
	s, h, _ := launch(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the site: %v", err)
		}
	})
	return s, h
}

// launch starts a site, which the test closes.
func launch(t *testing.T) (s *site.Site, h *history.Recorder, dir string) {
	t.Helper()
	cfg := config(t)
	s, err := site.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, cfg.History, cfg.Dir
}

func config(t *testing.T) site.Config {
	t.Helper()
	return site.Config{
		Dir: t.TempDir(), Broker: brokerProgram, Etcd: etcdProgram, History: history.NewRecorder(), Seed: 1,
		Tokens: []site.Token{
			{Name: stable, Endpoint: wechattest.Stable, Extra: "daily_budget: 100"}, {Name: classic, Endpoint: wechattest.Classic},
		},
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// must returns a value, or fails the test for the error beside it.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// leader waits until a broker leads that is none of those given, and returns it.
func leader(t *testing.T, s *site.Site, but ...*site.Broker) *site.Broker {
	t.Helper()
	var found *site.Broker
	eventually(t, "another leads", func(ctx context.Context) bool {
		b, err := s.Leader(ctx)
		if err != nil || b == nil {
			return false
		}
		found = b
		return !slices.Contains(but, b)
	})
	return found
}

// get asks a broker for a token within a time.
func get(t *testing.T, b *site.Broker, name string, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := tokenbrokerv1.NewTokenBrokerServiceClient(b.Conn()).GetToken(ctx,
		&tokenbrokerv1.GetTokenRequest{Name: name, MinTtl: durationpb.New(time.Millisecond)})
	return err
}

// serves waits until a broker hands out a token.
func serves(t *testing.T, b *site.Broker, name string) {
	t.Helper()
	eventually(t, b.ID+" hands out "+name, func(context.Context) bool { return get(t, b, name, time.Second) == nil })
}

// refresh orders a fetch of the stable token from a broker: a forced one, which brings a new token, or any.
func refresh(t *testing.T, b *site.Broker, force bool) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	_, err := tokenbrokerv1.NewAdminServiceClient(b.Conn()).RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: stable, Force: force})
	return err
}

// put writes something to etcd.
func put(t *testing.T, s *site.Site) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	_, err := s.Members[0].Client().Put(ctx, "/elsewhere", "v")
	return err
}
