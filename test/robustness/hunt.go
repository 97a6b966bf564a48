package main

import (
	"context"
	"errors"
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

// caughtBy names the checks that found a broken promise, whether it is the mutant's or not.
func (t trophy) caughtBy() []string {
	var names []string
	for _, k := range t.result.verdict.Checks {
		if k.Violated > 0 {
			names = append(names, k.Name)
		}
	}
	return names
}

// outcome says in a few words what came of it, and returns an error unless that is as it should be. A mutant is caught by a check of what
// its mechanism guards, and by nothing else: a crash, or another check, would tell of something that nobody meant to break.
func (t trophy) outcome() (string, error) {
	by := t.caughtBy()
	switch guards := t.mutant.Needs.Checks; {
	case t.err != nil:
		return "VOID", t.err
	case t.result.crash != nil:
		return strings.Join(append([]string{"CRASHED"}, by...), ", "), fmt.Errorf("%w: %s crashed", errBroken, nameOf(t.mutant))
	case len(guards) == 0 && len(by) == 0:
		return "nothing, as it should be", nil
	case len(guards) == 0:
		return "CAUGHT BY " + strings.Join(by, ", "), fmt.Errorf("%w by the broker as it is", errBroken)
	case slices.ContainsFunc(by, func(name string) bool { return slices.Contains(guards, name) }):
		return strings.Join(by, ", "), nil
	case len(by) > 0:
		return "NOT CAUGHT, but for " + strings.Join(by, ", "), fmt.Errorf("%w: mutant %s was not caught", errBroken, t.mutant.Name)
	default:
		return "NOT CAUGHT", fmt.Errorf("%w: mutant %s was not caught", errBroken, t.mutant.Name)
	}
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
	if p, t.err = compile(ctx, parent, m); t.err != nil {
		return t
	}
	if f.faults != "" {
		faults = names(f.faults)
	}
	fmt.Fprintf(errs, "%s: hunting for at most %v\n", nameOf(m), f.duration)
	f.calm = min(f.calm, huntingCalm)
	t.result, t.err = execute(ctx, order{
		plan: f.plan, faults: faults, operator: !quiet(m), hunt: true, checks: m.Needs.Checks, dir: place.site, told: errs, programs: p,
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
		return place.void(ctx, t.err)
	}
	if err := newReport(f, t.result).print(out, f.json); err != nil {
		return err
	}
	what, wrong := t.outcome()
	fmt.Fprintf(errs, "%s is to be caught by %s; caught by: %s\n", m.Name, strings.Join(m.Needs.Checks, " or "), what)
	if wrong != nil {
		return fmt.Errorf("%w with seed %d\nagain: %s\nthe history and the logs are in %s", wrong, f.seed, f.command(), place.dir)
	}
	return place.leave(errs)
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
	wrong := tabulate(f, trophies, out)
	switch {
	case ctx.Err() != nil:
		return place.void(ctx, wrong)
	case wrong != nil:
		return fmt.Errorf("%w\nhistories and logs are in %s", wrong, place.dir)
	default:
		return place.leave(errs)
	}
}

// tabulate prints what came of each hunt, and returns what was not as it should be.
func tabulate(f flags, trophies []trophy, out io.Writer) error {
	var wrong []error
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "mutant\tto be caught by\tcaught by\tafter\tfaults\tseed\n")
	for _, t := range trophies {
		what, err := t.outcome()
		wrong = append(wrong, err)
		fmt.Fprintf(table, "%s\t%s\t%s\t%v\t%d\t%d\n", nameOf(t.mutant), strings.Join(t.mutant.Needs.Checks, ", "), what,
			t.result.took.Round(time.Second), newReport(f, t.result).Injected, t.seed)
	}
	return errors.Join(append(wrong, table.Flush())...)
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
