package tokenbroker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

func Example() {
	broker := tokenbrokertest.Start() // stands for a cluster
	defer broker.Close()
	broker.Set("shop", "token-1", 2*time.Hour)
	target := broker.Listen()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := tokenbroker.New(ctx, target, tokenbroker.WithTokens("shop"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	token, err := client.Token(ctx, "shop")
	fmt.Println(token.Value(), err)
	fmt.Println(token)
	// Output:
	// token-1 <nil>
	// token "shop" version 1 (active) [redacted]
}

// A transport adds the token to each request, and replaces it when WeChat refuses it.
func ExampleSource_WeChatTransport() {
	broker := tokenbrokertest.Start()
	defer broker.Close()
	broker.Set("shop", "token-1", 2*time.Hour)
	wechat := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("access_token") == "token-1" {
			_, _ = io.WriteString(w, `{"errcode":42001,"errmsg":"access_token expired"}`)
			return
		}
		_, _ = io.WriteString(w, `{"errcode":0,"errmsg":"ok"}`)
	}))
	defer wechat.Close()

	http := &http.Client{Transport: broker.Client().Source("shop").WeChatTransport(wechat.Client().Transport)}
	answer, err := http.Get(wechat.URL + "/cgi-bin/user/get") //nolint:noctx // an example
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	fmt.Println(string(body), err, broker.Reports("shop"))
	// Output: {"errcode":0,"errmsg":"ok"} <nil> 1
}

// What the broker says when there is no living token.
func ExampleError() {
	broker := tokenbrokertest.Start()
	defer broker.Close()
	broker.Set("shop", "token-1", time.Hour)
	broker.Expire("shop")

	_, err := broker.Client().Token(context.Background(), "shop")
	if refused, ok := errors.AsType[*tokenbroker.Error](err); ok {
		fmt.Println(refused.Reason, refused.RetryAfter)
	}
	// Output: EXPIRED 1s
}

// A service with a certificate of its own, which something renews under it, and with the token that Kubernetes mounts and replaces. Either is
// enough where the brokers' policy wants no more.
func ExampleWithTLSFiles() {
	client, err := tokenbroker.New(context.Background(), "broker-1.example.org:7700,broker-2.example.org:7700,broker-3.example.org:7700",
		tokenbroker.WithTLSFiles(tokenbroker.TLSFiles{CAFile: "/etc/shop/ca.pem", CertFile: "/etc/shop/tls.pem", KeyFile: "/etc/shop/tls-key.pem"}),
		tokenbroker.WithBearerFile("/var/run/secrets/tokens/broker"))
	if err != nil {
		fmt.Println("a file is missing:", errors.Is(err, fs.ErrNotExist))
		return
	}
	defer client.Close()
	token, err := client.Token(context.Background(), "shop")
	fmt.Println(token, err)
	// Output: a file is missing: true
}
