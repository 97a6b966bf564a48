package build

import (
	"bytes"
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/gofail/code"
)

// Failpoints returns the names of the failpoints in the broker's source, sorted. Two of one name, with which a test build would panic at
// its start, are an error.
func Failpoints(ctx context.Context) ([]string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	paths, err := sources(root)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
		if err != nil {
			return nil, fmt.Errorf("looking for failpoints: %w", err)
		}
		f, err := parse(path, string(text))
		if err != nil {
			return nil, err
		}
		for _, p := range f.points {
			if slices.Contains(names, p.Name()) {
				return nil, fmt.Errorf("%s: there is another failpoint %q", path, p.Name())
			}
			names = append(names, p.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// sources returns the paths, within the module, of all files from which the broker is compiled.
func sources(root string) ([]string, error) {
	var paths []string
	for _, dir := range []string{"cmd", "internal"} {
		err := fs.WalkDir(os.DirFS(root), dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("listing the source: %w", err)
		}
	}
	return paths, nil
}

// failing is a source file with failpoints.
type failing struct {
	points   []*code.Failpoint
	code     string // with the comments made code; it has as many lines
	bindings string // another file of the package, which code needs
}

// parse looks for failpoints in a file's text.
func parse(path, text string) (failing, error) {
	var f failing
	var out, bindings bytes.Buffer
	var err error
	if f.points, err = code.ToFailpoints(&out, strings.NewReader(text)); err != nil {
		return failing{}, fmt.Errorf("%s: %w", path, err)
	}
	clause, err := parser.ParseFile(token.NewFileSet(), path, text, parser.PackageClauseOnly)
	if err != nil {
		return failing{}, fmt.Errorf("looking for failpoints: %w", err)
	}
	if err := code.NewBinding(clause.Name.Name, f.points).Write(&bindings); err != nil {
		return failing{}, fmt.Errorf("%s: %w", path, err)
	}
	f.code, f.bindings = out.String(), bindings.String()
	return f, nil
}
