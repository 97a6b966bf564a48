package main

import (
	"context"
	"sync"
	"time"
)

// pace does something so many times a second, by so many goroutines at most, until ctx ends and all have returned. What it cannot keep up
// with is left undone.
func pace(ctx context.Context, perSecond float64, workers int, do func(ctx context.Context, worker int)) {
	due := make(chan struct{}, workers)
	var working sync.WaitGroup
	for worker := range workers {
		working.Go(func() {
			for range due {
				if ctx.Err() == nil {
					do(ctx, worker)
				}
			}
		})
	}
	defer working.Wait()
	defer close(due)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	begin, given := time.Now(), 0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for wanted := int(time.Since(begin).Seconds() * perSecond); given < wanted; given++ {
			select {
			case due <- struct{}{}:
			default:
			}
		}
	}
}

// fleet has so many goroutines do something over and over, each with a rest after it, until ctx ends and all have returned.
func fleet(ctx context.Context, size int, rest time.Duration, do func(ctx context.Context, number int)) {
	var sailing sync.WaitGroup
	for number := range size {
		sailing.Go(func() {
			for ctx.Err() == nil {
				do(ctx, number)
				pause(ctx, rest)
			}
		})
	}
	sailing.Wait()
}

// pause waits, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
