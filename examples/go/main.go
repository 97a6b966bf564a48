// This program prints a token of the broker, with the SDK for Go:
//
//	go run ./examples/go [BROKERS [NAME [report]]]
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
)

func main() {
	flag.Parse()
	if err := show(cmp.Or(flag.Arg(0), "127.0.0.1:7700"), cmp.Or(flag.Arg(1), "demo-stable"), flag.NArg() > 2); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func show(brokers, name string, refused bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// One client for the whole program. It keeps its tokens fresh in the background.
	client, err := tokenbroker.New(ctx, brokers)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // it always returns nil

	token, err := client.Token(ctx, name) // from memory, after the first time
	if err != nil {
		return err
	}
	if refused { // WeChat answered 40001, 40014 or 42001
		if token, err = client.Invalid(ctx, token); err != nil {
			return err
		}
	}
	// A token is a secret: a real program sends token.Value() to WeChat, and prints at most the token itself, which hides it.
	fmt.Printf("%s, version %d, %.0fs left: %.8s...\n", token.Name(), token.Version(), token.TTL().Seconds(), token.Value())
	return nil
}
