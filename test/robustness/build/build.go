package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tag is the build tag of a test build.
const tag = "robustness"

// Variant says which broker to build.
type Variant struct {
	// Test adds failpoints and the clock that can be bent.
	Test bool
	// Mutant takes a mechanism out, of a test build. The zero Mutant takes out none.
	Mutant Mutant
}

// name is the program's file name.
func (v Variant) name() string {
	switch {
	case v.Mutant.Name != "":
		return "broker-" + v.Mutant.Name
	case v.Test:
		return "broker-test"
	default:
		return "broker"
	}
}

// Etcd builds the etcd server into dir, which must exist, and returns the program's path.
func Etcd(ctx context.Context, dir string) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join(dir, "etcd"))
	if err != nil {
		return "", fmt.Errorf("building etcd: %w", err)
	}
	if err := compile(ctx, root, "-o", path, "go.etcd.io/etcd/server/v3"); err != nil {
		return "", fmt.Errorf("building etcd: %w", err)
	}
	return path, nil
}

// Broker builds a broker into dir, which must exist, and returns the program's path. Different variants may be built into one dir, also
// at the same time. dir must not be within the module.
func Broker(ctx context.Context, dir string, v Variant) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join(dir, v.name()))
	if err != nil {
		return "", fmt.Errorf("building the broker: %w", err)
	}
	args := []string{"-o", path}
	if v.name() != (Variant{}).name() {
		overlaid, err := testBuild(root, path+"-source", v.Mutant)
		if err != nil {
			return "", err
		}
		args = append(args, overlaid...)
	}
	if err := compile(ctx, root, append(args, "./cmd/broker")...); err != nil {
		return "", fmt.Errorf("building %s: %w", v.name(), err)
	}
	return path, nil
}

// Check takes the mechanism out and compiles the packages that it was in, which is quicker than Broker. dir is as there.
func Check(ctx context.Context, dir string, m Mutant) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	args, err := testBuild(root, filepath.Join(dir, m.Name+"-source"), m)
	if err != nil {
		return err
	}
	if err := compile(ctx, root, append(args, m.packages()...)...); err != nil {
		return fmt.Errorf("compiling mutant %q: %w", m.Name, err)
	}
	return nil
}

// testBuild writes the files that make a test build of the source into dir, and returns the flags of go build that name them.
func testBuild(root, dir string, m Mutant) ([]string, error) {
	o := newOverlay(root)
	if err := o.mutate(m); err != nil {
		return nil, err
	}
	if err := o.enableFailpoints(); err != nil {
		return nil, err
	}
	list, err := o.save(dir)
	if err != nil {
		return nil, err
	}
	return []string{"-tags", tag, "-overlay", list}, nil
}

// compile runs go build in root, without cgo, and whatever the caller's own flags are.
func compile(ctx context.Context, root string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-buildvcs=false"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	cmd.WaitDelay = 5 * time.Second // compilers that outlive a go command that was cancelled
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// moduleRoot returns the folder of the module to which the present folder belongs.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the module: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if filepath.Base(file) != "go.mod" { // outside of a module it is os.DevNull, or empty
		return "", errors.New("looking for the module: the present folder is in none")
	}
	return filepath.Dir(file), nil
}
