package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
	"github.com/tokenbroker/tokenbroker/test/robustness/fault"
)

// faultsOf are the faults that a mutant needs. What is to come together is drawn from together.
func faultsOf(m build.Mutant) []string {
	var all []string
	for _, together := range m.Needs.Faults {
		all = append(all, strings.Split(together, " + ")...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// allFaults are those of every mutant, with which the broker as it is must not be caught.
func allFaults() []string {
	var all []string
	for _, m := range build.Mutants() {
		all = append(all, faultsOf(m)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// quiet reports whether an operator's commands would hide what a mutant does: a fetch ends what a late request has brought about.
func quiet(m build.Mutant) bool {
	return slices.ContainsFunc(faultsOf(m), func(name string) bool { return strings.HasPrefix(name, "late-request") })
}

// trophy is what came of a hunt.
type trophy struct {
	mutant build.Mutant
	seed   uint64
	result result
	err    error
}

// caughtBy names the checks that failed.
func (t trophy) caughtBy() []string {
	var names []string
	for _, k := range t.result.verdict.Checks {
		if k.Violated > 0 {
			names = append(names, k.Name)
		}
	}
	if t.result.crash != nil {
		names = append(names, "crash")
	}
	return names
}

// pursue hunts one mutant, or runs the broker as it is if that has no name.
func pursue(ctx context.Context, f flags, faults []string, m build.Mutant, parent home, errs io.Writer) trophy {
	t := trophy{mutant: m, seed: f.seed}
	var p programs
	var place home
	if place, t.err = newHome(filepath.Join(parent.dir, "hunt-"+nameOf(m))); t.err != nil {
		return t
	}
	fmt.Fprintf(errs, "%s: building\n", nameOf(m))
	if p, t.err = compile(ctx, filepath.Join(parent.dir, "programs"), m); t.err != nil {
		return t
	}
	if f.faults != "" {
		faults = names(f.faults)
	}
	fmt.Fprintf(errs, "%s: hunting for at most %v\n", nameOf(m), f.duration)
	t.result, t.err = execute(ctx, order{
		seed: f.seed, duration: f.duration, faults: faults, calm: min(f.calm, huntingCalm), operator: !quiet(m), hunt: true, dir: place.site,
		namespaces: f.namespaces, programs: p,
	})
	if saved := place.save(t.result); t.err == nil {
		t.err = saved
	}
	return t
}

func nameOf(m build.Mutant) string {
	if m.Name == "" {
		return "none"
	}
	return m.Name
}

// huntOne hunts the mutant that was named.
func huntOne(ctx context.Context, f flags, out, errs io.Writer) error {
	m, err := mutant(f.mutant)
	if err != nil {
		return err
	}
	place, err := newHome(f.keep)
	if err != nil {
		return err
	}
	t := pursue(ctx, f, faultsOf(m), m, place, errs)
	if t.err != nil {
		return fmt.Errorf("%w\nwhat there is of it is in %s", t.err, place.dir)
	}
	if err := newReport(f, t.result).print(out, f.json); err != nil {
		return err
	}
	if len(t.caughtBy()) == 0 {
		return fmt.Errorf("%w: mutant %s was not caught with seed %d\nagain: %s\nthe history and the logs are in %s",
			errBroken, m.Name, f.seed, f.command(), place.dir)
	}
	fmt.Fprintf(errs, "caught by %s\n", strings.Join(t.caughtBy(), ", "))
	return place.leave()
}

// huntAll hunts every mutant, one after the other, and lets the broker as it is go through the same.
func huntAll(ctx context.Context, f flags, out, errs io.Writer) error {
	place, err := newHome(f.keep)
	if err != nil {
		return err
	}
	trophies := []trophy{pursue(ctx, f, allFaults(), build.Mutant{}, place, errs)}
	for _, m := range build.Mutants() {
		if ctx.Err() == nil {
			trophies = append(trophies, pursue(ctx, f, faultsOf(m), m, place, errs))
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "mutant\tcaught by\tafter\tfaults\tseed\n")
	good := ctx.Err() == nil
	for _, t := range trophies {
		by, innocent := strings.Join(t.caughtBy(), ", "), t.mutant.Name == ""
		switch {
		case t.err != nil:
			by, good = "VOID: "+t.err.Error(), false
		case innocent && by == "":
			by = "nothing, as it should be"
		case innocent:
			by, good = "CAUGHT BY "+by, false
		case by == "":
			by, good = "NOT CAUGHT", false
		}
		fmt.Fprintf(table, "%s\t%s\t%v\t%d\t%d\n", nameOf(t.mutant), by, t.result.took.Round(time.Second), newReport(f, t.result).Injected, t.seed)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if !good {
		return fmt.Errorf("%w, or a mutant was not caught; histories and logs are in %s", errBroken, place.dir)
	}
	return place.leave()
}

// list prints the faults and the mutants.
func list(ctx context.Context, out io.Writer) error {
	points, err := build.Failpoints(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range fault.Catalogue(times(), 24*time.Hour, points, true) {
		fmt.Fprintf(table, "%s\t%s\n", f.Name, f.About)
	}
	fmt.Fprintln(table)
	for _, m := range build.Mutants() {
		fmt.Fprintf(table, "%s\t%s\n", m.Name, m.What)
	}
	return table.Flush()
}
