//go:build foreign

package foreign_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// root is the root of the module, seen from the folder in which tests run.
const root = "../.."

// The paths of the built programs.
var program, grpcurl string

func TestMain(m *testing.M) {
	brokertest.Main(m, func(dir string) error {
		program, grpcurl = filepath.Join(dir, "broker"), filepath.Join(dir, "grpcurl")
		return errors.Join(
			brokertest.Build(program),
			brokertest.GoBuild(grpcurl, "-modfile=tools/grpcurl/go.mod", "github.com/fullstorydev/grpcurl/cmd/grpcurl"))
	})
}

// without reports whether a language is left out: see the package's documentation.
func without(language string) bool {
	return slices.Contains(strings.Fields(os.Getenv("FOREIGN_WITHOUT")), language)
}
