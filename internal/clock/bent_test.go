//go:build robustness

package clock_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
)

// bending runs a test in a bubble, with a way to say how wrong the wall clock is. An empty text removes the file.
func bending(t *testing.T, test func(t *testing.T, say func(text string))) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clock")
	t.Setenv("TOKENBROKER_CLOCK_FILE", file)
	synctest.Test(t, func(t *testing.T) {
		test(t, func(text string) {
			err := os.Remove(file)
			if text != "" {
				err = os.WriteFile(file, []byte(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	})
}

func mustShow(t *testing.T, c *clock.Clock, offset time.Duration) {
	t.Helper()
	if got := time.Until(c.Wall()); got != offset {
		t.Errorf("the wall clock is wrong by %v, want %v", got, offset)
	}
}

func TestAClockThatIsBentFromTheStartIsConstantlyWrong(t *testing.T) {
	bending(t, func(t *testing.T, say func(string)) {
		say("-10m0s\n")
		c := clock.New()
		mustShow(t, c, -10*time.Minute)
		time.Sleep(time.Hour)
		mustRead(t, c, time.Hour, 0)
		mustShow(t, c, -10*time.Minute)
	})
}

func TestAChangeOfTheFileIsAJump(t *testing.T) {
	bending(t, func(t *testing.T, say func(string)) {
		c := clock.New()
		mustShow(t, c, 0)
		say("10m")
		time.Sleep(50 * time.Millisecond)
		mustShow(t, c, 10*time.Minute)
		mustRead(t, c, 10*time.Minute+50*time.Millisecond, 1)
		say("-10m")
		time.Sleep(50 * time.Millisecond)
		mustRead(t, c, 10*time.Minute+100*time.Millisecond, 2)
		say("")
		time.Sleep(50 * time.Millisecond)
		mustShow(t, c, 0)
		mustRead(t, c, 20*time.Minute+150*time.Millisecond, 3)
	})
}

func TestAnOffsetThatMakesNoSenseIsNotIgnored(t *testing.T) {
	bending(t, func(t *testing.T, say func(string)) {
		say("ten minutes")
		defer func() {
			if recover() == nil {
				t.Error("a clock was made of it")
			}
		}()
		clock.New()
	})
}

func TestAClockOfWhichNothingIsSaidIsTheSystems(t *testing.T) {
	t.Setenv("TOKENBROKER_CLOCK_FILE", "")
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		time.Sleep(time.Minute)
		mustShow(t, c, 0)
		mustRead(t, c, time.Minute, 0)
	})
}
