package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// module is one that the build uses, where the module cache has it.
type module struct {
	Path, Version, Dir string
	// Licences are SPDX identifiers, sorted.
	Licences []string `json:"-"`
}

// directModules lists what go.mod asks for by itself.
func directModules(ctx context.Context) ([]string, error) {
	text, err := goCommand(ctx, "mod", "edit", "-json")
	if err != nil {
		return nil, err
	}
	var file struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("reading go.mod: %w", err)
	}
	var paths []string
	for _, r := range file.Require {
		if !r.Indirect {
			paths = append(paths, r.Path)
		}
	}
	return paths, nil
}

// modulesOf lists the modules that are compiled into a program, but for ours.
func modulesOf(ctx context.Context, pattern string) ([]string, error) {
	text, err := goCommand(ctx, "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", pattern)
	paths := strings.Fields(string(text))
	slices.Sort(paths)
	return slices.Compact(paths), err
}

// locate finds modules of the build list and reads their licences. What the module cache lacks is downloaded.
func locate(ctx context.Context, paths []string) (map[string]module, error) {
	found := map[string]module{}
	if len(paths) == 0 {
		return found, nil
	}
	text, err := goCommand(ctx, append([]string{"mod", "download", "-json"}, paths...)...)
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var m module
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading what go mod download said: %w", err)
		}
		if m.Licences, err = licencesIn(m.Dir); err != nil {
			return nil, fmt.Errorf("%s %s: %w", m.Path, m.Version, err)
		}
		found[m.Path] = m
	}
}

func goCommand(ctx context.Context, args ...string) ([]byte, error) {
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, errs.String())
	}
	return out, nil
}
