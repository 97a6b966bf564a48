package dialogues_test

import (
	"path/filepath"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// program is the path of the built broker.
var program string

func TestMain(m *testing.M) {
	brokertest.Main(m, func(dir string) error {
		program = filepath.Join(dir, "broker")
		return brokertest.Build(program)
	})
}
