// Command robustness breaks a cluster of brokers in every way that it knows, for as long as it is told to, and judges what callers saw:
//
//	go run ./test/robustness -seed 7 -duration 30m
//
// Three brokers, three members of etcd and the network between them are real; WeChat is simulated, and knows which token was alive when.
// One seed decides what is broken in which order, and who asks for what. Whatever breaks a promise is printed with the command that
// repeats the run, and the history, the judgement and the log of each process are left in a folder. See docs/ROBUSTNESS.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/build"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

// The exit codes, besides 0: all promises were kept.
const (
	exitBroken = 1 // a promise was broken, a process crashed, or a mutant was not caught
	exitVoid   = 2 // nothing can be said: the suite itself failed, or was interrupted
	exitUsage  = 64
)

func main() { os.Exit(start(os.Args[1:], os.Stdout, os.Stderr)) }

// flags are the command line.
type flags struct {
	plan
	faults  string
	mutant  string
	mutants bool
	keep    string
	json    bool
	list    bool
	again   string
}

// plan is what the command line says of a run, as it is.
type plan struct {
	seed     uint64
	duration time.Duration
	// calm is the longest time between two faults that break the same part of the site.
	calm time.Duration
	// namespaces: processes run in network namespaces, and can vanish.
	namespaces bool
}

func start(args []string, out, errs io.Writer) int {
	var f flags
	set := flag.NewFlagSet("robustness", flag.ContinueOnError)
	set.SetOutput(errs)
	set.Uint64Var(&f.seed, "seed", rand.Uint64N(1e6), "what decides all choices; random unless given")
	set.DurationVar(&f.duration, "duration", 5*time.Minute, "how long things are broken")
	set.DurationVar(&f.calm, "calm", longestCalm, "the longest time between two faults that break the same part of the site")
	set.StringVar(&f.faults, "faults", "", "the faults to draw from, by commas; a star at the end stands for any ending; all unless given")
	set.StringVar(&f.mutant, "mutant", "", "run the broker without this mechanism, until it is caught; the faults are those that it needs unless given")
	set.BoolVar(&f.mutants, "mutants", false, "do so with every mutant, and print a table")
	set.BoolVar(&f.namespaces, "namespaces", false, "run each process in a network namespace of its own, so that it can vanish: faults vanish-*; takes root on Linux")
	set.StringVar(&f.keep, "keep", "", "the folder for the history, the judgement and the logs; it is kept, however the run ends")
	set.BoolVar(&f.json, "json", false, "print the judgement as JSON")
	set.StringVar(&f.again, "judge", "", "judge the run whose folder this is anew, and run nothing")
	set.BoolVar(&f.list, "list", false, "list the faults and the mutants, and do nothing")
	if err := set.Parse(args); err != nil || set.NArg() > 0 {
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever cannot wait interrupts a second time: that ends the suite at once, and all processes with it
	var err error
	if f.namespaces {
		err = site.TryNamespaces()
	}
	switch {
	case err != nil:
	case f.list:
		err = list(ctx, out)
	case f.again != "":
		err = judgeAgain(f, out)
	case f.mutants:
		err = huntAll(ctx, f, out, errs)
	case f.mutant != "":
		err = huntOne(ctx, f, out, errs)
	default:
		err = single(ctx, f, out, errs)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errBroken) && !errors.Is(err, errInterrupted):
		fmt.Fprintln(errs, err)
		return exitBroken
	default:
		fmt.Fprintf(errs, "the run is void: %v\n", err)
		return exitVoid
	}
}

var (
	// errBroken is the cause of errors that say something about the broker, or of a mutant that was not caught.
	errBroken = errors.New("promises were broken")
	// errInterrupted is the cause where somebody ended the suite before it could judge.
	errInterrupted = errors.New("interrupted")
)

// single is one run of the broker as it is.
func single(ctx context.Context, f flags, out, errs io.Writer) error {
	home, err := newHome(f.keep)
	if err != nil {
		return err
	}
	fmt.Fprintf(errs, "seed %d, %v; building the programs\n", f.seed, f.duration)
	p, err := compile(ctx, home, build.Mutant{})
	if err != nil {
		return home.void(ctx, err)
	}
	fmt.Fprintf(errs, "logs and all go to %s%s\n", home.dir, map[bool]string{false: ", which is deleted if the run passes: -keep FOLDER keeps it"}[home.kept])
	res, err := execute(ctx, order{plan: f.plan, faults: names(f.faults), operator: true, dir: home.site, told: errs, programs: p})
	if saved := home.save(res); err == nil {
		err = saved
	}
	if err != nil {
		return home.void(ctx, err)
	}
	rep := newReport(f, res)
	if err := rep.print(out, f.json); err != nil {
		return err
	}
	if !res.passed() {
		return fmt.Errorf("%w with seed %d\nagain: %s\nthe history, the judgement and the logs are in %s", errBroken, f.seed, f.command(), home.dir)
	}
	return home.leave(errs)
}

// names splits what stands between commas.
func names(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// command is the command line that repeats a run.
func (f flags) command() string {
	c := fmt.Sprintf("go run ./test/robustness -seed %d -duration %v", f.seed, f.duration)
	if f.calm != longestCalm {
		c += fmt.Sprintf(" -calm %v", f.calm)
	}
	if f.namespaces {
		c += " -namespaces"
	}
	if f.mutant != "" {
		c += " -mutant " + f.mutant
	}
	if f.faults != "" {
		c += fmt.Sprintf(" -faults '%s'", f.faults)
	}
	return c
}
