// Bench measures what GetToken costs beside an empty gRPC handler that returns the same bytes.
//
// Each server is a process of its own on the loopback interface; the client is this process. They take turns, round by round, under the
// same load, and each round gives one ratio: whatever else the machine does strikes all, and the median of many ratios is steady where
// single figures are not. Processor time is what the kernel booked on the server's process, so the client's work does not count.
//
// The program exits with 1 if GetToken costs more than the limits below.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

// The limits that GetToken must keep to.
const (
	mostCPU    = 1.10 // times the empty handler's processor time per request
	mostAllocs = 2.0  // allocations per request more than the empty handler's
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errTooDear = errors.New("GetToken costs more than its limits")

func run(ctx context.Context) error {
	role := flag.String("serve", "", "be the server of that kind instead of measuring: plain, empty or broker")
	rounds := flag.Int("rounds", 240, "rounds per load; each measures every server twice")
	requests := flag.Int("requests", 1000, "requests per turn")
	output := flag.String("o", "", "write the report to this file, too")
	flag.Parse()
	if *role != "" {
		return serve(ctx, *role)
	}
	if *rounds < 6 || *requests < 1 {
		return errors.New("at least 6 rounds of at least one request are needed")
	}

	var results []result
	for _, l := range loads {
		r, err := measure(ctx, l, *rounds, *requests)
		if err != nil {
			return fmt.Errorf("measuring %v: %w", l, err)
		}
		results = append(results, r...)
	}
	if err := report(os.Stdout, results, *rounds, *requests); err != nil {
		return err
	}
	if *output != "" {
		if err := writeFile(*output, results, *rounds, *requests); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	for _, r := range results {
		if r.cpu.median > mostCPU || r.allocs.median > mostAllocs {
			return errTooDear
		}
	}
	return nil
}

// writeFile writes the page, and keeps the sections after it, which other programs write.
func writeFile(name string, results []result, rounds, requests int) error {
	name = filepath.Clean(name)
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var text strings.Builder
	if err := report(&text, results, rounds, requests); err != nil {
		return err
	}
	if _, sections, more := strings.Cut(string(old), "\n## "); more {
		text.WriteString("\n## " + sections)
	}
	return os.WriteFile(name, []byte(text.String()), 0o644) //nolint:gosec // a document
}
