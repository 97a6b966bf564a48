package tokenbroker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

// Copies of what the SDKs declare.
type (
	// github.com/silenceper/wechat/v2/credential
	accessTokenHandle interface {
		GetAccessToken() (accessToken string, err error)
	}
	accessTokenContextHandle interface {
		accessTokenHandle
		GetAccessTokenContext(ctx context.Context) (accessToken string, err error)
	}
	// github.com/chanxuehong/wechat/mp/core
	accessTokenServer interface {
		Token() (token string, err error)
		RefreshToken(currentToken string) (token string, err error)
		IID01332E16DF5011E5A9D5A4DB30FED8E1()
	}
	// github.com/ArtisanCloud/PowerLibs/v3/object
	hashMap map[string]any
	// github.com/ArtisanCloud/PowerWeChat/v3/src/kernel
	accessToken struct {
		GetCustomToken func(key string, refresh bool) hashMap
	}
)

var (
	_ accessTokenHandle        = tokenbroker.SilenceperHandle{}
	_ accessTokenContextHandle = tokenbroker.SilenceperHandle{}
	_ accessTokenServer        = tokenbroker.ChanxuehongServer{}
)

func TestSilenceperGetsTheToken(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("shop", "one", time.Hour)
	var handle accessTokenContextHandle = broker.Client().Source("shop").Silenceper()
	if got, err := handle.GetAccessToken(); err != nil || got != "one" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := handle.GetAccessTokenContext(t.Context()); err != nil || got != "one" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestChanxuehongRefreshesTheTokenThatItNamesAndNoOther(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("shop", "one", time.Hour)
	var server accessTokenServer = broker.Client().Source("shop").Chanxuehong()
	if got, err := server.Token(); err != nil || got != "one" {
		t.Errorf("got %q, %v", got, err)
	}
	for range 2 { // the second time it names one that was replaced
		if got, err := server.RefreshToken("one"); err != nil || got != "shop-version-2" || broker.Reports("shop") != 1 {
			t.Errorf("got %q, %v, %d reports", got, err, broker.Reports("shop"))
		}
	}
}

func TestPowerWeChatGetsTheTokenWithItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		source := broker.Client().Source("shop")
		sdk := accessToken{GetCustomToken: tokenbroker.PowerWeChat[hashMap](source)}
		if got := sdk.GetCustomToken("key", false); got["access_token"] != "one" || got["expires_in"] != 3600.0 {
			t.Errorf("got %v", got)
		}
		if got := sdk.GetCustomToken("key", true); got["access_token"] != "shop-version-2" || broker.Reports("shop") != 1 {
			t.Errorf("got %v, %d reports", got, broker.Reports("shop"))
		}
		broker.Remove("shop")
		time.Sleep(2 * time.Hour)
		if got := sdk.GetCustomToken("key", false); got["access_token"] != nil || got["expires_in"] != 0.0 {
			t.Errorf("got %v when there is no token", got)
		}
	})
}

func TestGRPCCallsCarryTheToken(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("shop", "one", time.Hour)
	client := broker.Client()
	creds := client.Source("shop").PerRPCCredentials()
	if got, err := creds.GetRequestMetadata(t.Context(), "https://api.example.com"); err != nil || len(got) != 1 || got["authorization"] != "Bearer one" {
		t.Errorf("got %v, %v", got, err)
	}
	if !creds.RequireTransportSecurity() {
		t.Error("the token goes over connections that are not encrypted")
	}
	if _, err := client.Source("nobody").PerRPCCredentials().GetRequestMetadata(t.Context()); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
}
