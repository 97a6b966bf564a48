package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
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

// save writes the history, what WeChat issued, and the judgement.
func (h home) save(res result) error {
	scene := res.final
	scene.Events, scene.Issued = nil, nil // they have files of their own
	return errors.Join(
		history.Save(filepath.Join(h.dir, eventsFile), res.final.Events),
		write(filepath.Join(h.dir, issuedFile), res.final.Issued),
		write(filepath.Join(h.dir, caseFile), scene),
		write(filepath.Join(h.dir, "judgement.json"), res.verdict),
		os.WriteFile(filepath.Join(h.dir, "judgement.txt"), []byte(res.verdict.String()), 0o600),
	)
}

// The files from which a run can be judged anew.
const (
	eventsFile = "history.jsonl"
	issuedFile = "issued.json"
	caseFile   = "case.json"
)

// reopen reads what save wrote.
func reopen(dir string) (judge.Case, error) {
	var c judge.Case
	if err := read(filepath.Join(dir, caseFile), &c); err != nil {
		return c, err
	}
	if err := read(filepath.Join(dir, issuedFile), &c.Issued); err != nil {
		return c, err
	}
	var err error
	c.Events, err = history.Load(filepath.Join(dir, eventsFile))
	return c, err
}

func read(path string, into any) error {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("reopening a run: %w", err)
	}
	return nil
}

func write(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.WriteFile(path, data, 0o600)
}

// void is the error of a run of which nothing can be said. Its folder stays: it tells why.
func (h home) void(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		err = errInterrupted
	case ctx.Err() != nil:
		err = errors.Join(errInterrupted, err)
	}
	return fmt.Errorf("%w\nwhat there is of it is in %s", err, h.dir)
}

// leave takes the folder of a run that passed away, unless it is to be kept, and says so.
func (h home) leave(told io.Writer) error {
	if h.kept {
		fmt.Fprintf(told, "the history, the judgement and the logs are in %s\n", h.dir)
		return nil
	}
	fmt.Fprintln(told, "the folder with the history and the logs is deleted, as all is well: -keep FOLDER keeps it")
	return os.RemoveAll(h.dir)
}
