package site_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
)

// brokerProgram and etcdProgram are the paths of the built programs.
var brokerProgram, etcdProgram string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "robustness-site-")
	if err == nil {
		brokerProgram, err = build.Broker(context.Background(), dir, build.Variant{Test: true})
	}
	if err == nil {
		etcdProgram, err = build.Etcd(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		_ = os.RemoveAll(dir)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}
