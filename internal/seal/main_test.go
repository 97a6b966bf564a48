package seal_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	place = "/tokenbroker/token/shop"
	value = "57_9sPzE-xdQ0bWJmZk"
)

func newKeyset(tb testing.TB) *seal.Keyset {
	tb.Helper()
	k, err := seal.New()
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// must takes the result of a step that does not fail.
func must[T any](v T, err error) func(tb testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// grown returns a keyset with a second key, which is not the primary.
func grown(tb testing.TB, k *seal.Keyset) (*seal.Keyset, seal.ID) {
	tb.Helper()
	next, id, err := k.Add()
	if err != nil {
		tb.Fatal(err)
	}
	return next, id
}
