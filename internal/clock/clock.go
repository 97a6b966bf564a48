// Package clock counts time the pessimistic way: never slower than the monotonic clock, and never slower than the wall clock.
//
// Promises about a token's remaining life must not be stretched by a machine that slept. Linux's CLOCK_MONOTONIC stands still in a
// suspend, and a resumed virtual machine learns of the lost time only when something corrects its wall clock. A Clock therefore
// reads both. It counts on the monotonic one, and when the wall clock jumps ahead of it by more than Tolerance, it adds the jump to
// every later Instant: what may have been slept through counts as time that has passed.
//
// A jump in either direction also starts a new Era. Whoever holds a belief that rests on having watched the time without a gap (a
// proof of freshness, the lead) keeps the era beside it, and drops the belief when the era has changed.
//
// Instants of one Clock may be compared with each other only; they mean nothing to another process.
package clock

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Tolerance is how far the wall clock may move against the monotonic one between two readings before that counts as a jump. A
// slewing NTP daemon moves it by at most 0.5 ms a second; a correction below the tolerance is far inside the margins of every rule
// that counts on this package.
const Tolerance = 500 * time.Millisecond

// Instant is a point of time on a Clock: pessimistic nanoseconds since the clock was made. The zero Instant is the clock's birth,
// so it lies before anything the process could have observed.
type Instant time.Duration

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the duration from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Source reads a monotonic and a wall clock together: mono since any fixed moment, wall as Unix time.
type Source func() (mono time.Duration, wall time.Time)

// Clock is safe for concurrent use. Now takes no lock unless the clocks have drifted apart.
type Clock struct {
	source Source
	birth  time.Duration // the monotonic reading that is Instant 0

	offset  atomic.Int64  // wall minus monotonic, as last accepted
	skipped atomic.Int64  // the sum of all forward jumps
	era     atomic.Uint64 // the number of jumps

	mu sync.Mutex // held while offset, skipped and era change together
}

// FromSource returns a Clock on other clocks, for tests that bend time.
func FromSource(source Source) *Clock {
	mono, wall := source()
	c := &Clock{source: source, birth: mono}
	c.offset.Store(wall.UnixNano() - int64(mono))
	return c
}

// Reading is one look at the clock.
type Reading struct {
	// At is the present instant.
	At Instant
	// Era is the era in which At was read.
	Era uint64
	// Wall is the wall clock at the same moment, for people and calendars only.
	Wall time.Time
	// Skipped is the part of At that the monotonic clock did not count: the sum of all forward jumps.
	Skipped time.Duration
}

// Now returns the present instant.
func (c *Clock) Now() Instant { return c.Read().At }

// Read looks at the clock.
func (c *Clock) Read() Reading {
	for {
		era := c.era.Load()
		mono, wall := c.source()
		if c.adrift(mono, wall) {
			return c.settle()
		}
		// If another reader noticed a jump meanwhile, this look may be from before it, and its era from after it: look again.
		if now := c.reading(mono, wall, era); c.era.Load() == era {
			return now
		}
	}
}

func (c *Clock) reading(mono time.Duration, wall time.Time, era uint64) Reading {
	skipped := time.Duration(c.skipped.Load())
	return Reading{At: Instant(mono - c.birth + skipped), Era: era, Wall: wall, Skipped: skipped}
}

// Wall returns the wall clock's present reading, for what is shown to people and for schedules by the calendar. Nothing that
// guards a promise may rest on it.
func (c *Clock) Wall() time.Time {
	_, wall := c.source()
	return wall
}

func (c *Clock) adrift(mono time.Duration, wall time.Time) bool {
	drift := wall.UnixNano() - int64(mono) - c.offset.Load()
	return drift > int64(Tolerance) || drift < -int64(Tolerance)
}

// settle looks again under the lock, and if the clocks are still apart, counts the jump.
func (c *Clock) settle() Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	mono, wall := c.source()
	if c.adrift(mono, wall) {
		offset := wall.UnixNano() - int64(mono)
		if jump := offset - c.offset.Load(); jump > 0 {
			c.skipped.Add(jump)
		}
		// The era must be new before the offset hides the jump from other readers.
		c.era.Add(1)
		c.offset.Store(offset)
	}
	return c.reading(mono, wall, c.era.Load())
}

// Run follows the clocks every two seconds until ctx ends, so that slow slewing never adds up to a jump. It returns nil.
func (c *Clock) Run(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.Follow()
		case <-ctx.Done():
			return nil
		}
	}
}

// Follow accepts the present offset between the clocks as normal unless it is a jump.
func (c *Clock) Follow() {
	mono, wall := c.source()
	if c.adrift(mono, wall) {
		c.settle()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if mono, wall = c.source(); !c.adrift(mono, wall) {
		c.offset.Store(wall.UnixNano() - int64(mono))
	}
}
