package tokenbrokeroauth2_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokeroauth2"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheTokenIsABearerTokenThatExpiresWithItsPromise(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("api", "one", time.Hour)
	client := broker.Client()
	end := time.Now().Add(time.Hour)
	got, err := tokenbrokeroauth2.New(client.Source("api")).Token()
	if err != nil || got.AccessToken != "one" || got.Type() != "Bearer" || !got.Valid() || got.Expiry.After(end) || end.Sub(got.Expiry) > time.Minute {
		t.Errorf("got %v until %v, %v", got.Type(), got.Expiry, err)
	}
	if got, err := tokenbrokeroauth2.New(client.Source("nobody")).Token(); err == nil {
		t.Errorf("got %v", got)
	}
}
