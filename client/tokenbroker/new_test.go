package tokenbroker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

func TestTokensGoToAnotherMachineOnlyEncryptedUnlessThatIsWanted(t *testing.T) {
	for target, here := range map[string]bool{
		"127.0.0.1:7700": true, "localhost:7700": true, "[::1]:7700": true, "unix:///run/broker.sock": true, "unix:broker.sock": true,
		"dns:///localhost:7700": true, "127.0.0.1:7700,127.0.0.2:7700": true, "localhost:1, [::1]:2": true,
		"broker.example.com:7700": false, "192.0.2.1:7700": false, "dns:///broker.example.com:7700": false, "127.0.0.1:7700,192.0.2.1:7700": false,
		"dns://8.8.8.8/localhost:7700": false, "localhost.example.com:7700": false, "localhost": false, "xds:///localhost:7700": false,
	} {
		c, err := tokenbroker.New(t.Context(), target)
		if (err == nil) != here {
			t.Errorf("%s: %v", target, err)
		}
		if err == nil {
			_ = c.Close()
		}
		for _, option := range []tokenbroker.Option{tokenbroker.WithTLS(nil), tokenbroker.WithInsecure()} {
			if c, err := tokenbroker.New(t.Context(), target, option); err == nil {
				_ = c.Close()
			} else if target != "xds:///localhost:7700" { // a scheme that is not built in
				t.Errorf("%s: %v", target, err)
			}
		}
	}
}

func TestATargetThatIsNoneIsRefused(t *testing.T) {
	for _, target := range []string{"", "127.0.0.1:1,", "127.0.0.1:1,localhost", ",,"} {
		if c, err := tokenbroker.New(t.Context(), target, tokenbroker.WithInsecure()); err == nil {
			t.Errorf("%q was taken", target)
			_ = c.Close()
		}
	}
}

func TestNewWaitsForTheTokensThatItIsToldTo(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("shop", "one", time.Hour)
	broker.Set("app", "one", time.Hour)
	address := broker.Listen()
	c, err := tokenbroker.New(t.Context(), address, tokenbroker.WithTokens("shop", "app"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if names := c.Names(); len(names) != 2 {
		t.Errorf("follows %q", names)
	}
	if _, err := tokenbroker.New(t.Context(), address, tokenbroker.WithTokens("shop", "nobody")); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := tokenbroker.New(ctx, "127.0.0.1:1", tokenbroker.WithTokens("shop")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCloseIsSafeToRepeat(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("shop", "one", time.Hour)
	c := broker.Client()
	source := c.Source("shop")
	token, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if token.Value() != "one" {
		t.Error("a token that was handed out is gone")
	}
	if _, err := c.Invalid(t.Context(), token); !errors.Is(err, tokenbroker.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := source.Token(t.Context()); !errors.Is(err, tokenbroker.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
