package clock_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
)

const (
	readers = 3
	rush    = 150 * time.Millisecond // how long each test lets them race
)

// hands are what clocks show at one moment.
type hands struct {
	mono time.Duration
	wall time.Time
}

// quickClocks are clocks that one goroutine moves while others read them without a lock.
type quickClocks struct{ now atomic.Pointer[hands] }

func newQuickClocks() *quickClocks {
	q := &quickClocks{}
	q.now.Store(&hands{wall: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)})
	return q
}

func (q *quickClocks) read() (time.Duration, time.Time) {
	now := q.now.Load()
	return now.mono, now.wall
}

func (q *quickClocks) move(mono, wall time.Duration) {
	now := q.now.Load()
	q.now.Store(&hands{now.mono + mono, now.wall.Add(wall)})
}

// disturb lets the wall clock jump while readers call look again and again, each with its own number. It returns the number of moves.
func disturb(c *clock.Clock, q *quickClocks, jump func(i int) time.Duration, look func(reader int)) int {
	done := make(chan struct{})
	var group sync.WaitGroup
	for reader := range readers {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					look(reader)
				}
			}
		})
	}
	moves := 0
	for start := time.Now(); time.Since(start) < rush; moves++ {
		q.move(time.Nanosecond, time.Nanosecond+jump(moves))
		if moves%7 == 0 {
			c.Follow()
		}
	}
	close(done)
	group.Wait()
	return moves
}

// Whoever sees a new era must see an instant that contains its jump: it will anchor new beliefs there. And whoever sees the wall clock
// after a jump must see a new era, and the jump as time that has passed.
func TestWhatOneReadingSaysFitsTogether(t *testing.T) {
	q := newQuickClocks()
	birth := q.now.Load().wall
	c := clock.FromSource(q.read)
	var last [readers]clock.Reading
	for i := range last {
		last[i] = c.Read()
	}
	moves := disturb(c, q, func(int) time.Duration { return time.Second }, func(reader int) {
		now := c.Read()
		if now.At < clock.Instant(time.Duration(now.Era)*time.Second) {
			t.Errorf("era %d begins at %v, before its jump", now.Era, time.Duration(now.At))
		}
		if wall := now.Wall.Sub(birth); time.Duration(now.At) < wall-clock.Tolerance {
			t.Errorf("the wall clock counts %v since the birth of the clock, the clock %v", wall, time.Duration(now.At))
		}
		if before := last[reader]; now.Wall.Sub(before.Wall) > clock.Tolerance && now.Era == before.Era {
			t.Errorf("the wall clock jumped by %v, and still it is era %d", now.Wall.Sub(before.Wall), now.Era)
		}
		last[reader] = now
	})
	if era := c.Read().Era; era == 0 || era > uint64(moves) {
		t.Errorf("%d jumps made %d eras", moves, era)
	}
}

// Many readers notice a jump at once; it counts once.
func TestAJumpIsCountedOnceHoweverManySeeIt(t *testing.T) {
	q := newQuickClocks()
	c := clock.FromSource(q.read)
	jumps := 0
	moves := disturb(c, q, func(i int) time.Duration {
		if i%100 != 0 {
			return 0
		}
		jumps++
		return time.Second
	}, func(int) { c.Now() })
	want := clock.Instant(time.Duration(jumps)*time.Second + time.Duration(moves))
	if now := c.Read(); now.At != want || now.Era > uint64(jumps) {
		t.Errorf("%d jumps of a second brought the clock to %v in era %d, want %v", jumps, time.Duration(now.At), now.Era, time.Duration(want))
	}
}

func TestInstantsNeverGoBackForAnyReader(t *testing.T) {
	q := newQuickClocks()
	c := clock.FromSource(q.read)
	var last [readers]clock.Reading
	disturb(c, q, func(i int) time.Duration {
		if i%2 == 0 {
			return time.Second
		}
		return -2 * time.Second
	}, func(reader int) {
		now := c.Read()
		if before := last[reader]; now.At < before.At || now.Era < before.Era {
			t.Errorf("%v in era %d came after %v in era %d", time.Duration(now.At), now.Era, time.Duration(before.At), before.Era)
		}
		last[reader] = now
	})
}
