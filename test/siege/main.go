// Siege attacks a broker in every way that it knows, one after the other, and measures what other callers notice of it, and what it costs
// the broker:
//
//	go run ./test/siege -o docs/SIEGE.md
//
// The broker is built from this tree and runs in a process of its own for each attack, on an etcd and a simulated WeChat, on the loopback
// interface. Well-behaved callers call at a fixed rate, in rounds without the attack and with it by turns, so that a noisy machine strikes
// both alike; each pair of rounds gives one ratio. The attacker is a process of the lowest priority, because what is measured is the
// broker and not how an operating system shares out its processors.
//
// The program exits with 1 if a well-behaved call failed, if one attack slows down others by more than the limit below, or if
// the broker does not let go of what an attack made it hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mostRatio is how much longer the slowest hundredth of others' calls may take under an attack.
const mostRatio = 2.0

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "siege:", err)
		os.Exit(1)
	}
}

var errFell = errors.New("the broker did not withstand every attack")

func run(ctx context.Context) error {
	var p plan
	role := flag.String("attacker", "", "be the attacker's process, with this attack, instead of measuring")
	only := flag.String("only", "", "the beginnings of the names of attacks to make, by commas; all unless given")
	list := flag.Bool("list", false, "list the attacks, and do nothing")
	program := flag.String("broker", "", "the broker's program; built from this tree unless given")
	output := flag.String("o", "", "write the report to this file, too")
	flag.IntVar(&p.rounds, "rounds", 8, "rounds of each attack; each measures without it and with it")
	flag.DurationVar(&p.round, "round", 2*time.Second, "how long each measure is")
	flag.DurationVar(&p.long, "long", 15*time.Second, "how long each attack lasts at the end in one piece")
	flag.Parse()
	some := chosen(*only)
	switch {
	case *role != "":
		i := slices.IndexFunc(some, func(a attack) bool { return a.name == *role })
		if i < 0 {
			return fmt.Errorf("no attack is called %q", *role)
		}
		return beAttacker(ctx, some[i])
	case *list:
		for _, a := range some {
			fmt.Printf("%-20s %s\n", a.name, a.does)
		}
		return nil
	case len(some) == 0 || p.rounds < 1 || p.round < time.Second/callsPerSecond:
		return errors.New("there is nothing to measure")
	}
	results, err := besiege(ctx, some, p, *program)
	if err != nil {
		return err
	}
	text := page(results, p)
	fmt.Print(text)
	if *output != "" {
		if err := os.WriteFile(filepath.Clean(*output), []byte(text), 0o644); err != nil { //nolint:gosec // a document
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	if slices.ContainsFunc(results, result.fell) {
		return errFell
	}
	return nil
}

// besiege makes the attacks one after the other, each on a broker of its own, and tells of each on standard error.
func besiege(ctx context.Context, some []attack, p plan, program string) ([]result, error) {
	dir, err := os.MkdirTemp("", "siege-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := newSite(ctx, dir, program)
	defer s.close()
	if err != nil {
		return nil, err
	}
	var results []result
	for _, a := range some {
		r, err := s.try(ctx, a, p)
		if err != nil {
			return results, fmt.Errorf("attack %s: %w", a.name, err)
		}
		fmt.Fprintln(os.Stderr, r.line())
		for _, f := range r.failures[:min(len(r.failures), 5)] {
			fmt.Fprintln(os.Stderr, "   ", strings.TrimSpace(f))
		}
		if r.ordered != nil {
			fmt.Fprintln(os.Stderr, "   ", r.ordered)
		}
		results = append(results, r)
	}
	return results, nil
}
