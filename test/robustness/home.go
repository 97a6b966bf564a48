package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// home is the folder of a run.
type home struct {
	// dir has all of it: programs, the site with its data and logs, and what save writes.
	dir, site string
	kept      bool // whatever comes
}

func newHome(dir string) (home, error) {
	h := home{dir: dir, kept: dir != ""}
	var err error
	if !h.kept {
		if h.dir, err = os.MkdirTemp("", "robustness-"); err != nil {
			return h, fmt.Errorf("making a folder for the run: %w", err)
		}
	} else if h.dir, err = filepath.Abs(dir); err != nil {
		return h, fmt.Errorf("making a folder for the run: %w", err)
	}
	h.site = filepath.Join(h.dir, "site")
	if _, err := os.Stat(h.site); err == nil {
		return h, fmt.Errorf("%s is the folder of another run", h.dir)
	}
	if err := os.MkdirAll(h.site, 0o700); err != nil {
		return h, fmt.Errorf("making a folder for the run: %w", err)
	}
	return h, nil
}

// compileFor builds the programs, with a mechanism taken out if a mutant is named.
func compileFor(ctx context.Context, h home, name string) (programs, error) {
	m, err := mutant(name)
	if err != nil {
		return programs{}, err
	}
	return compile(ctx, filepath.Join(h.dir, "programs"), m)
}

// save writes the history, what WeChat issued, and the judgement.
func (h home) save(res result) error {
	return errors.Join(
		history.Save(filepath.Join(h.dir, "history.jsonl"), res.events),
		write(filepath.Join(h.dir, "issued.json"), res.issued),
		write(filepath.Join(h.dir, "judgement.json"), res.verdict),
		os.WriteFile(filepath.Join(h.dir, "judgement.txt"), []byte(res.verdict.String()), 0o600),
	)
}

func write(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.WriteFile(path, data, 0o600)
}

// leave takes the folder away, unless it is to be kept.
func (h home) leave() error {
	if h.kept {
		return nil
	}
	return os.RemoveAll(h.dir)
}
