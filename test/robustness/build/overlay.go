package build

import (
	"encoding/json"
	"fmt"
	"os"
	slashpath "path"
	"path/filepath"
	"strings"
)

// overlay is a set of files that go build takes in place of those of the module, or beside them.
type overlay struct {
	root  string
	files map[string]string // their content, by the path within the module
}

func newOverlay(root string) *overlay { return &overlay{root: root, files: map[string]string{}} }

// read returns a file as go build would see it.
func (o *overlay) read(path string) (string, error) {
	if text, ok := o.files[path]; ok {
		return text, nil
	}
	text, err := os.ReadFile(filepath.Join(o.root, filepath.FromSlash(path)))
	return string(text), err
}

// mutate makes the edits of a mutant. Each finds the text as the ones before have left it.
func (o *overlay) mutate(m Mutant) error {
	for _, e := range m.Edits {
		text, err := o.read(e.File)
		if err != nil {
			return fmt.Errorf("mutant %q: %w", m.Name, err)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return fmt.Errorf("mutant %q: %s has %d times, and not once, the text %q", m.Name, e.File, n, e.Old)
		}
		o.files[e.File] = strings.Replace(text, e.Old, e.New, 1)
	}
	return nil
}

// enableFailpoints makes code of all failpoints.
func (o *overlay) enableFailpoints() error {
	paths, err := sources(o.root)
	if err != nil {
		return err
	}
	for _, path := range paths {
		text, err := o.read(path)
		if err != nil {
			return fmt.Errorf("enabling failpoints: %w", err)
		}
		f, err := parse(path, text)
		if err != nil {
			return err
		}
		if len(f.points) > 0 {
			o.files[path] = f.code
			o.files[strings.TrimSuffix(path, ".go")+".fail.go"] = f.bindings
			for name, text := range stoppers(f.pkg) {
				o.files[slashpath.Dir(path)+"/"+name] = text
			}
		}
	}
	return nil
}

// save writes the files below dir, and returns the path of the list that go build wants of them.
func (o *overlay) save(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	var list struct{ Replace map[string]string }
	list.Replace = map[string]string{}
	for path, text := range o.files {
		path = filepath.FromSlash(path)
		copied := filepath.Join(dir, path)
		list.Replace[filepath.Join(o.root, path)] = copied
		if err := os.MkdirAll(filepath.Dir(copied), 0o700); err != nil {
			return "", fmt.Errorf("writing the overlay: %w", err)
		}
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("writing the overlay: %w", err)
		}
	}
	data, err := json.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	return name, nil
}
