package tokenbroker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

const secret = "SECRET-VALUE"

func TestATokenTellsWhoseItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Issuer("shop", "wechat stable", "wx1")
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		former := must(t, c)
		broker.Issuer("shop", "wechat classic", "wx2")
		broker.Set("shop", "two", time.Hour)
		synctest.Wait()
		latter := must(t, c)
		if former.Upstream() != "wechat stable" || former.AppID() != "wx1" {
			t.Errorf("the former is of %q, %q", former.Upstream(), former.AppID())
		}
		if latter.Upstream() != "wechat classic" || latter.AppID() != "wx2" {
			t.Errorf("the latter is of %q, %q", latter.Upstream(), latter.AppID())
		}
		if none := (tokenbroker.Token{}); none.Upstream() != "" || none.AppID() != "" {
			t.Error("the zero Token is somebody's")
		}
		listed, err := c.List(t.Context())
		if err != nil || len(listed) != 1 || listed[0].AppID() != "wx2" || listed[0].Value() != "" {
			t.Errorf("got %v, %v", listed, err)
		}
	})
}

func TestAListCallsACondemnedTokenExpiredBeforeItsStatedEnd(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("shop", "one", time.Hour)
	broker.Condemn("shop")
	listed, err := broker.Client().List(t.Context())
	if err != nil || len(listed) != 1 || listed[0].State() != tokenbroker.Expired || !listed[0].Expires().After(time.Now()) {
		t.Errorf("got %v, %v", listed, err)
	}
}

func TestATokenShowsItsValueInNoForm(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("shop", secret, time.Hour)
	token := must(t, broker.Client())
	type wrapped struct {
		Token  tokenbroker.Token
		hidden tokenbroker.Token
		Ptr    *tokenbroker.Token
	}
	var text bytes.Buffer
	for _, thing := range []any{token, &token, wrapped{token, token, &token}, &wrapped{token, token, &token}, []tokenbroker.Token{token},
		map[string]tokenbroker.Token{"a": token}, [1]any{token}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T", "%!", "%z"} {
			fmt.Fprintf(&text, verb+"\n", thing)
		}
		marshalled, err := json.Marshal(thing)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(marshalled)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&text, nil)} {
			slog.New(handler).Info("logged", "thing", thing)
		}
	}
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("% x", secret)} {
		if strings.Contains(text.String(), form) {
			t.Errorf("%q is in\n%s", form, text.String())
		}
	}
	if !strings.Contains(text.String(), "[redacted]") || token.Value() != secret {
		t.Error("nothing was redacted")
	}
}

func TestTheZeroTokenIsNone(t *testing.T) {
	var none tokenbroker.Token
	if !none.IsZero() || none.Value() != "" || none.Name() != "" || none.Version() != 0 || none.TTL() != 0 ||
		none.State() != tokenbroker.Expired || !none.Expires().IsZero() || none.Local() || none.String() != "no token" {
		t.Errorf("got %#v", none)
	}
	if _, err := tokenbrokertest.New(t).Client().Invalid(t.Context(), none); err == nil {
		t.Error("no token was reported as invalid")
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("shop", secret, time.Hour)
	client := broker.Client()
	source := client.Source("shop")
	must(t, client)
	for name, read := range map[string]func() (tokenbroker.Token, error){
		"client": func() (tokenbroker.Token, error) { return client.Token(t.Context(), "shop") },
		"source": func() (tokenbroker.Token, error) { return source.Token(t.Context()) },
	} {
		n := testing.AllocsPerRun(1000, func() {
			if token, err := read(); err != nil || token.Value() != secret || token.TTL() <= 0 {
				t.Error(token, err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestListTellsOfAllTokensWithoutTheirValues(t *testing.T) {
	broker := tokenbrokertest.New(t)
	broker.Set("shop", secret, time.Hour)
	broker.Expire("app")
	client := broker.Client()
	tokens, err := client.List(t.Context())
	if err != nil || len(tokens) != 2 || tokens[0].Name() != "app" || tokens[0].State() != tokenbroker.Expired ||
		tokens[1].Name() != "shop" || tokens[1].Version() != 1 || tokens[1].TTL() <= 0 || tokens[1].Value() != "" || len(client.Names()) > 0 {
		t.Errorf("got %v, %v", tokens, err)
	}
}
