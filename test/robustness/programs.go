package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
)

// programs are what a run runs.
type programs struct {
	etcd, broker string
	failpoints   []string
}

var errNoMutant = errors.New("no such mutant")

// mutant returns the mutant of a name; the broker as it is has none.
func mutant(name string) (build.Mutant, error) {
	all := build.Mutants()
	i := slices.IndexFunc(all, func(m build.Mutant) bool { return m.Name == name })
	switch {
	case name == "":
		return build.Mutant{}, nil
	case i < 0:
		return build.Mutant{}, fmt.Errorf("%w: %q", errNoMutant, name)
	}
	return all[i], nil
}

// compile builds the programs into the folder of a run. What is there already is built again: the compiler knows whether it has to.
func compile(ctx context.Context, h home, m build.Mutant) (programs, error) {
	var p programs
	dir := filepath.Join(h.dir, "programs")
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return p, err
	}
	if p.etcd, err = build.Etcd(ctx, dir); err != nil {
		return p, err
	}
	if p.broker, err = build.Broker(ctx, dir, build.Variant{Test: true, Mutant: m}); err != nil {
		return p, err
	}
	p.failpoints, err = build.Failpoints(ctx)
	return p, err
}
