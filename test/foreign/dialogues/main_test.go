package dialogues_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// program is the path of the built broker.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "broker-dialogues-")
	if err == nil {
		program, err = site.Build(dir)
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
