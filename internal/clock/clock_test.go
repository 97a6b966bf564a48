package clock_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clocks are a monotonic and a wall clock that a test moves by hand.
type clocks struct {
	mu   sync.Mutex
	mono time.Duration
	wall time.Time
}

func newClocks() *clocks {
	return &clocks{mono: 42 * time.Hour, wall: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
}

func (c *clocks) read() (time.Duration, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono, c.wall
}

// move moves the monotonic clock and the wall clock, each by its own amount.
func (c *clocks) move(mono, wall time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mono += mono
	c.wall = c.wall.Add(wall)
}

// pass lets time pass on both.
func (c *clocks) pass(d time.Duration) { c.move(d, d) }

// jump sets the wall clock.
func (c *clocks) jump(d time.Duration) { c.move(0, d) }

func mustRead(t *testing.T, c *clock.Clock, at time.Duration, era uint64) {
	t.Helper()
	if got := c.Read(); got.At != clock.Instant(at) || got.Era != era {
		t.Errorf("the clock reads %v in era %d, want %v in era %d", time.Duration(got.At), got.Era, at, era)
	}
}

func TestAnInstantCountsFromTheBirthOfTheClock(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	mustRead(t, c, 0, 0)
	hands.pass(time.Minute)
	mustRead(t, c, time.Minute, 0)
	if got := c.Now(); got != clock.Instant(time.Minute) {
		t.Errorf("Now returns %v", time.Duration(got))
	}
}

func TestInstantsAddAndSubtract(t *testing.T) {
	i := clock.Instant(time.Minute)
	if got := i.Add(time.Second).Sub(i); got != time.Second {
		t.Errorf("a second later is %v later", got)
	}
	if got := i.Sub(i.Add(time.Second)); got != -time.Second {
		t.Errorf("a second earlier is %v later", got)
	}
}

func TestAForwardJumpOfTheWallClockCountsAsTimeThatPassed(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	hands.pass(time.Minute)
	hands.jump(10 * time.Minute)
	mustRead(t, c, 11*time.Minute, 1)
	hands.pass(time.Second)
	mustRead(t, c, 11*time.Minute+time.Second, 1)
}

func TestABackwardJumpOfTheWallClockChangesTheEraAndNoInstant(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	hands.pass(time.Minute)
	hands.jump(-10 * time.Minute)
	mustRead(t, c, time.Minute, 1)
	hands.pass(time.Second)
	mustRead(t, c, time.Minute+time.Second, 1)
}

func TestEveryJumpStartsAnotherEraAndForwardOnesAddUp(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	hands.jump(time.Hour)
	mustRead(t, c, time.Hour, 1)
	hands.jump(-time.Hour)
	mustRead(t, c, time.Hour, 2)
	hands.jump(time.Hour)
	mustRead(t, c, 2*time.Hour, 3)
	hands.pass(time.Minute)
	if got := c.Read().Skipped; got != 2*time.Hour {
		t.Errorf("%v were skipped, want 2h", got)
	}
}

func TestASuspendThatTheMonotonicClockSleptThroughIsCounted(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	before := c.Read()
	hands.move(0, 3*time.Hour)
	after := c.Read()
	if slept := after.At.Sub(before.At); slept != 3*time.Hour || after.Era == before.Era {
		t.Errorf("a suspend of 3h counts %v, era %d and then %d", slept, before.Era, after.Era)
	}
}

func TestOnlyWhatExceedsTheToleranceIsAJump(t *testing.T) {
	for _, test := range []struct {
		jump time.Duration
		at   time.Duration
		era  uint64
	}{
		{clock.Tolerance, 0, 0},
		{clock.Tolerance + 1, clock.Tolerance + 1, 1},
		{-clock.Tolerance, 0, 0},
		{-clock.Tolerance - 1, 0, 1},
	} {
		hands := newClocks()
		c := clock.FromSource(hands.read)
		hands.jump(test.jump)
		mustRead(t, c, test.at, test.era)
	}
}

func TestSmallStepsInOneDirectionAddUpToAJumpUnlessTheyAreFollowed(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	hands.jump(300 * time.Millisecond)
	mustRead(t, c, 0, 0)
	hands.jump(300 * time.Millisecond)
	mustRead(t, c, 600*time.Millisecond, 1)
}

func TestSlowSlewingNeverAddsUpWhenItIsFollowed(t *testing.T) {
	for _, slew := range []time.Duration{5 * time.Millisecond, -5 * time.Millisecond} {
		hands := newClocks()
		c := clock.FromSource(hands.read)
		for range 24 * 360 { // a day at the fastest that an NTP daemon slews, followed every 10 s
			hands.move(10*time.Second, 10*time.Second+slew)
			c.Follow()
		}
		mustRead(t, c, 24*time.Hour, 0)
	}
}

func TestRunFollowsTheClocksUntilItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		birth := time.Now()
		c := clock.FromSource(func() (time.Duration, time.Time) { // the wall clock is slewed by a thousandth
			mono := time.Since(birth)
			return mono, birth.Add(mono + mono/1000)
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(time.Hour)
		mustRead(t, c, time.Hour, 0)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		time.Sleep(time.Hour)
		if c.Read().Era == 0 {
			t.Error("Run has ended, and yet somebody follows the clocks")
		}
	})
}

func TestFollowCountsAJumpThatItIsTheFirstToSee(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	hands.jump(time.Hour)
	c.Follow()
	mustRead(t, c, time.Hour, 1)
	hands.jump(-time.Hour)
	c.Follow()
	mustRead(t, c, time.Hour, 2)
}

func TestAfterFollowAJumpIsMeasuredFromThePresentOffset(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	hands.jump(400 * time.Millisecond)
	c.Follow()
	hands.jump(-800 * time.Millisecond)
	mustRead(t, c, 0, 1)
}

func TestWallTimeIsTheWallClocksOwn(t *testing.T) {
	hands := newClocks()
	c := clock.FromSource(hands.read)
	start := c.Wall()
	hands.pass(time.Minute)
	hands.jump(-time.Hour)
	want := start.Add(time.Minute - time.Hour)
	if got := c.Wall(); !got.Equal(want) {
		t.Errorf("Wall returns %v, want %v", got, want)
	}
	now := c.Read()
	if !now.Wall.Equal(want) {
		t.Errorf("Read returns the wall time %v, want %v", now.Wall, want)
	}
}

func TestTheSystemsClocksAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		start := time.Now()
		time.Sleep(90 * time.Minute)
		mustRead(t, c, 90*time.Minute, 0)
		if got := c.Wall(); !got.Equal(start.Add(90*time.Minute)) || got != got.Round(0) {
			t.Errorf("Wall returns %v, want %v without a monotonic reading", got, start.Add(90*time.Minute))
		}
	})
}

// The promise of the package comment: never slower than the monotonic clock, and never slower than the wall clock by more than what is
// no jump.
func TestTheClockIsNeverSlowerThanEitherClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hands := newClocks()
		c := clock.FromSource(hands.read)
		last := c.Read()
		lastMono, _ := hands.read()
		amount := rapid.SampledFrom([]time.Duration{0, 1, time.Millisecond, 300 * time.Millisecond, clock.Tolerance, clock.Tolerance + 1, time.Second, time.Hour})
		t.Repeat(map[string]func(*rapid.T){
			"pass":    func(t *rapid.T) { hands.pass(amount.Draw(t, "both")) },
			"forward": func(t *rapid.T) { hands.jump(amount.Draw(t, "wall")) },
			"back":    func(t *rapid.T) { hands.jump(-amount.Draw(t, "wall")) },
			"follow":  func(*rapid.T) { c.Follow() },
			"": func(t *rapid.T) {
				now := c.Read()
				mono, _ := hands.read()
				passed := now.At.Sub(last.At)
				if passed < mono-lastMono {
					t.Fatalf("the clock counted %v, the monotonic clock %v", passed, mono-lastMono)
				}
				// What was within the tolerance on one side may have become so on the other.
				if wall := now.Wall.Sub(last.Wall); passed < wall-2*clock.Tolerance {
					t.Fatalf("the clock counted %v, the wall clock %v", passed, wall)
				}
				if started, _ := newClocks().read(); now.At != clock.Instant(mono-started+now.Skipped) {
					t.Fatalf("%v have passed, %v of them skipped, but the monotonic clock counts %v", time.Duration(now.At), now.Skipped, mono-started)
				}
				if wall := now.Wall.Sub(last.Wall); now.Era == last.Era && (wall-passed).Abs() > 2*clock.Tolerance {
					t.Fatalf("the wall clock moved by %v while %v were counted, and no new era began", wall, passed)
				}
				last, lastMono = now, mono
			},
		})
	})
}
