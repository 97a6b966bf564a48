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
	"regexp"
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
	pkg      string // the package's name
	code     string // the file with the comments made code
	bindings string // another file of the package, which code needs
}

// parse looks for failpoints in a file's text.
func parse(path, text string) (failing, error) {
	clause, err := parser.ParseFile(token.NewFileSet(), path, text, parser.PackageClauseOnly)
	if err != nil {
		return failing{}, fmt.Errorf("looking for failpoints: %w", err)
	}
	f := failing{pkg: clause.Name.Name}
	var out, bindings bytes.Buffer
	if f.points, err = code.ToFailpoints(&out, strings.NewReader(stopping(text))); err != nil {
		return failing{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := code.NewBinding(f.pkg, f.points).Write(&bindings); err != nil {
		return failing{}, fmt.Errorf("%s: %w", path, err)
	}
	f.code, f.bindings = out.String(), bindings.String()
	return f, nil
}

// header is the first line of a failpoint.
var header = regexp.MustCompile(`(?m)^([ \t]*)// gofail: var .*\n`)

// stopping gives failpoints that have no code of their own, in another comment line, a call of stopAtFailpoint.
func stopping(text string) string {
	var out strings.Builder
	last := 0
	for _, at := range header.FindAllStringSubmatchIndex(text, -1) {
		out.WriteString(text[last:at[1]])
		last = at[1]
		if !strings.HasPrefix(strings.TrimLeft(text[last:], " \t"), "//") {
			out.WriteString(text[at[2]:at[3]] + "// stopAtFailpoint()\n")
		}
	}
	return out.String() + text[last:]
}

// stoppers are the files of a package that have stopAtFailpoint. On Linux the signal is sent to the very thread that runs: one to the
// process may be taken by another thread, milliseconds later, while this one goes on.
func stoppers(pkg string) map[string]string {
	return map[string]string{
		"stop_linux.fail.go": "package " + pkg + `

import (
	"runtime"
	"syscall"
)

func stopAtFailpoint() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(syscall.Gettid()), uintptr(syscall.SIGSTOP))
}
`,
		"stop_other.fail.go": "//go:build !linux\n\npackage " + pkg + `

import "syscall"

func stopAtFailpoint() { _ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) }
`,
	}
}
