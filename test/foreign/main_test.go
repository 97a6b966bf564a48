//go:build foreign

package foreign_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/test/foreign/site"
)

// root is the root of the module, seen from the folder in which tests run.
const root = "../.."

// The paths of the built programs.
var program, grpcurl string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "broker-foreign-")
	if err == nil {
		program, err = site.Build(dir)
	}
	if err == nil {
		grpcurl = filepath.Join(dir, "grpcurl")
		err = buildGrpcurl(grpcurl)
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

// buildGrpcurl builds the version that is pinned in tools/grpcurl.
func buildGrpcurl(path string) error {
	cmd := exec.CommandContext(context.Background(), "go", "build", "-modfile=tools/grpcurl/go.mod", "-o", path, "github.com/fullstorydev/grpcurl/cmd/grpcurl")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building grpcurl: %w\n%s", err, out)
	}
	return nil
}

// without reports whether a language is left out: see the package's documentation.
func without(language string) bool {
	return slices.Contains(strings.Fields(os.Getenv("FOREIGN_WITHOUT")), language)
}
