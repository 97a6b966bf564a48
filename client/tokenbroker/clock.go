package tokenbroker

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is how much monotonic time may pass until the wall clock is looked at again.
	lookEvery = int64(time.Second)
	// jumpTolerance is how far the wall clock may get ahead between two looks before that counts as time slept through. Daemons that
	// slew a clock move it by 0.5 ms a second at most.
	jumpTolerance = int64(500 * time.Millisecond)
)

// instant is a point of time on a clock: nanoseconds since it was made.
type instant int64

func (i instant) add(d time.Duration) instant { return i + instant(d) }

func (i instant) sub(j instant) time.Duration { return time.Duration(i - j) }

// clock counts on the monotonic clock, and adds what the wall clock jumped ahead of it: the monotonic clock stands still while the machine
// is suspended. Reading both each time would cost as much as everything else together, so the wall clock is looked at once a second, by
// whoever reads the time then, and around each call of the broker.
type clock struct {
	base time.Time
	wall func() time.Time

	looked  atomic.Int64 // when the wall clock was looked at, without jumps
	skipped atomic.Int64 // the sum of all jumps
	mu      sync.Mutex   // held while all of these change together
	offset  int64        // wall minus monotonic, as last accepted
}

func newClock() *clock {
	now := time.Now()
	return &clock{base: now, wall: time.Now, offset: now.UnixNano()}
}

// now takes no lock unless a look is due.
func (c *clock) now() instant {
	monotonic := int64(time.Since(c.base))
	if monotonic-c.looked.Load() > lookEvery {
		return c.look()
	}
	return instant(monotonic + c.skipped.Load())
}

// look returns the present instant after a look at the wall clock.
func (c *clock) look() instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	monotonic := int64(time.Since(c.base))
	offset := c.wall().UnixNano() - monotonic
	if jump := offset - c.offset; jump > jumpTolerance {
		c.skipped.Add(jump)
	}
	c.offset = offset
	c.looked.Store(monotonic)
	return instant(monotonic + c.skipped.Load())
}

// at returns the instant at which the wall clock will show a time, as far as is known now.
func (c *clock) at(wall time.Time) instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	monotonic := int64(time.Since(c.base))
	return instant(monotonic + c.skipped.Load()).add(min(wall.Sub(c.wall()), longestLife))
}
