// Sdk measures what it costs to have a token at hand: read through the SDK, from an oauth2.ReuseTokenSource, and from Redis with a GET, as
// programs do that share a token there.
//
// All are read in one process and take turns, round by round, so that whatever else the machine does strikes all. A figure is the median of
// the rounds. The Redis server is a process of its own on the loopback interface; where there is none, an imitation in this process stands
// for it, and the report says so.
//
// The program exits with 1 if reading through the SDK allocates, or takes longer than the limit below.
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
	"time"
)

// most is how long reading a held token may take, with the check of its life.
const most = 40 * time.Nanosecond

// leastAllocs is what counts as an allocation for each read. Measuring allocates, too, a few times a turn.
const leastAllocs = 0.01

var errTooDear = errors.New("reading a token through the SDK costs more than its limits")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	rounds := flag.Int("rounds", 300, "rounds; each measures everything once")
	turn := flag.Duration("turn", 2*time.Millisecond, "how long a turn lasts")
	redis := flag.String("redis", "redis-server", "the program of the Redis server; an imitation is used if there is none")
	output := flag.String("o", "", "write the report into this file, as its section of that name")
	flag.Parse()
	if *rounds < 6 || *turn <= 0 {
		return errors.New("at least 6 rounds of some time are needed")
	}
	subjects, server, end, err := prepare(ctx, *redis)
	defer end()
	if err != nil {
		return err
	}
	results, err := measure(ctx, subjects, *rounds, *turn)
	if err != nil {
		return err
	}
	text, err := report(results, server, *rounds, *turn)
	if err != nil {
		return err
	}
	fmt.Print(text)
	if *output != "" {
		if err := replaceSection(*output, text); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	for _, r := range results {
		if r.limited && (r.Callers == 1 && r.CPU.median > float64(most) || r.Allocs > leastAllocs) {
			return errTooDear
		}
	}
	return nil
}

// replaceSection puts a section in place of the one with the same heading, or at the end. A section begins with "## ".
func replaceSection(name, section string) error {
	name = filepath.Clean(name)
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	heading, _, _ := strings.Cut(section, "\n")
	before, rest, _ := strings.Cut(string(old), "\n"+heading+"\n")
	_, after, more := strings.Cut(rest, "\n## ")
	text := strings.TrimRight(before, "\n") + "\n\n" + section
	if more {
		text += "\n## " + after
	}
	return os.WriteFile(name, []byte(text), 0o644) //nolint:gosec // a document
}
