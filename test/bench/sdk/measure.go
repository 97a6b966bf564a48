package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// result is what one subject cost under one load.
type result struct {
	subject
	Callers int
	CPU     spread  // nanoseconds of processor time a read
	Wall    spread  // nanoseconds that a read takes, as its caller sees it
	Allocs  float64 // a read, the median
}

// spread sums up the figures of all rounds.
type spread struct{ low, median, high float64 } // quartiles

func spreadOf(figures []float64) spread {
	slices.Sort(figures)
	n := len(figures)
	return spread{figures[n/4], figures[n/2], figures[n-1-n/4]}
}

// batch is how often a token is read between two looks at the clock.
const batch = 64

// measure has all subjects take turns, with one caller and with one for each processor.
func measure(ctx context.Context, subjects []subject, rounds int, turn time.Duration) ([]result, error) {
	loads := []int{1, runtime.GOMAXPROCS(0)}
	seen := make([]result, len(subjects)*len(loads))
	samples := make([][]sample, len(seen))
	for range rounds {
		for i, callers := range loads {
			for j, s := range subjects {
				got, err := one(ctx, s, callers, turn)
				if err != nil {
					return nil, fmt.Errorf("reading from %s: %w", s.Name, err)
				}
				k := i*len(subjects) + j
				seen[k].subject, seen[k].Callers = s, callers
				samples[k] = append(samples[k], got)
			}
		}
	}
	for k := range seen {
		over := func(figure func(sample) float64) spread {
			var figures []float64
			for _, s := range samples[k] {
				figures = append(figures, figure(s))
			}
			return spreadOf(figures)
		}
		seen[k].CPU = over(func(s sample) float64 { return s.cpu })
		seen[k].Wall = over(func(s sample) float64 { return s.wall })
		seen[k].Allocs = over(func(s sample) float64 { return s.allocs }).median
	}
	return seen, nil
}

// sample is what a read cost in one turn.
type sample struct{ cpu, wall, allocs float64 }

// one is one turn.
func one(ctx context.Context, s subject, callers int, turn time.Duration) (sample, error) {
	var before, after runtime.MemStats
	counts, errs := make([]int, callers), make([]error, callers)
	if _, err := s.read(batch); err != nil { // so that everything is where it is needed
		return sample{}, err
	}
	runtime.ReadMemStats(&before)
	used, err := processorTime()
	if err != nil {
		return sample{}, err
	}
	begin := time.Now()
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			for errs[i] == nil && time.Since(begin) < turn && ctx.Err() == nil {
				size, err := s.read(batch)
				if err == nil && size != batch*len(value) {
					err = errors.New("got something else than the token")
				}
				errs[i] = err
				counts[i] += batch
			}
		})
	}
	running.Wait()
	elapsed := time.Since(begin)
	usedNow, err := processorTime()
	if err != nil {
		return sample{}, err
	}
	runtime.ReadMemStats(&after)
	total := 0
	for i := range callers {
		if errs[i] != nil {
			return sample{}, errs[i]
		}
		total += counts[i]
	}
	if ctx.Err() != nil {
		return sample{}, ctx.Err()
	}
	reads := float64(total)
	return sample{
		cpu: float64(usedNow-used) / reads, wall: float64(elapsed) * float64(callers) / reads, allocs: float64(after.Mallocs-before.Mallocs) / reads,
	}, nil
}

// processorTime is what this process has used so far.
func processorTime() (time.Duration, error) {
	var spent syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &spent)
	return time.Duration(spent.Utime.Nano() + spent.Stime.Nano()), err
}
