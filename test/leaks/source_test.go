package leaks_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// source is one package of ours, with its types.
type source struct {
	files []*ast.File
	info  *types.Info
}

// loader reads packages. What they import comes compiled out of the build cache.
type loader struct {
	fset     *token.FileSet
	importer types.Importer
}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	DepOnly                 bool
}

// load reads the packages that some patterns match, but not their tests.
func load(t *testing.T, patterns ...string) (*loader, []source) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,DepOnly"}, patterns...)...)
	cmd.Dir, cmd.Stderr = filepath.Join("..", ".."), os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	exports := map[string]string{}
	var ours []listed
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			ours = append(ours, p)
		}
	}
	l := &loader{fset: token.NewFileSet()}
	l.importer = importer.ForCompiler(l.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	sources := make([]source, len(ours))
	for i, p := range ours {
		var files []*ast.File
		for _, name := range p.GoFiles {
			files = append(files, l.parse(t, filepath.Join(p.Dir, name), nil))
		}
		sources[i] = l.check(t, p.ImportPath, files)
	}
	return l, sources
}

// parse reads a file, or a text that stands for one.
func (l *loader) parse(t *testing.T, name string, text any) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(l.fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (l *loader) check(t *testing.T, path string, files []*ast.File) source {
	t.Helper()
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	cfg := types.Config{Importer: l.importer}
	if _, err := cfg.Check(path, l.fset, files, info); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return source{files, info}
}

// place is where something stands, from the module's root on.
func (l *loader) place(pos token.Pos) string {
	p := l.fset.Position(pos)
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return p.String()
	}
	name, err := filepath.Rel(root, p.Filename)
	if err != nil {
		return p.String()
	}
	return fmt.Sprintf("%s:%d", name, p.Line)
}
