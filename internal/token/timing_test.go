package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestWeChatsOverlapGivesTheConstantsOfTheProtocol(t *testing.T) {
	want := token.Timing{W: 240 * time.Second, G: 5 * time.Second, P: time.Minute, D: time.Minute, F: 10 * time.Second}
	if got := token.TimingFor(5 * time.Minute); got != want {
		t.Errorf("TimingFor(5m) = %+v, want %+v", got, want)
	}
}

func TestEveryOverlapGivesAValidTiming(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		overlap := time.Duration(rapid.Int64Range(int64(5*time.Second), int64(48*time.Hour)).Draw(t, "overlap"))
		timing := token.TimingFor(overlap)
		if err := timing.Check(overlap); err != nil {
			t.Fatalf("overlap %v: %v", overlap, err)
		}
		if timing.Settled() >= timing.W {
			t.Errorf("a drained token waits %v, no less than the W of %v that it is to spare", timing.Settled(), timing.W)
		}
		if timing.LeastAhead() != 2*timing.W+timing.D {
			t.Errorf("LeastAhead is %v, want 2W + D with %+v", timing.LeastAhead(), timing)
		}
		// The allowance for clocks that run at different rates, and a fetch that is answered before it would count as late.
		if spare := overlap - timing.W; spare < overlap/5 {
			t.Errorf("overlap %v leaves %v beside W for the clocks", overlap, spare)
		}
		if timing.G+timing.P+timing.D+timing.F > timing.W {
			t.Errorf("a fetch may take %v longer than the wait of %v after it", timing.G+timing.P+timing.D+timing.F-timing.W, timing.W)
		}
	})
}

func TestATimingWhoseRelationsDoNotHoldIsRefused(t *testing.T) {
	const overlap = 5 * time.Minute
	good := token.TimingFor(overlap)
	for _, test := range []struct {
		name   string
		change func(*token.Timing)
		want   string
	}{
		{"no W", func(t *token.Timing) { t.W = 0 }, "W is 0s, must be positive"},
		{"no G", func(t *token.Timing) { t.G = 0 }, "G is 0s, must be positive"},
		{"no P", func(t *token.Timing) { t.P = 0 }, "P is 0s, must be positive"},
		{"no D", func(t *token.Timing) { t.D = 0 }, "D is 0s, must be positive"},
		{"no F", func(t *token.Timing) { t.F = 0 }, "F is 0s, must be positive"},
		{"negative D", func(t *token.Timing) { t.D = -1 }, "must be positive"},
		{"W as long as the requests live", func(t *token.Timing) { t.W = t.Settled() }, "must be less than W"},
		{"W as long as the overlap", func(t *token.Timing) { t.W = overlap }, "less than the upstream's overlap"},
		{"a pause beyond W", func(t *token.Timing) { t.P = t.W }, "must be less than W"},
	} {
		timing := good
		test.change(&timing)
		err := timing.Check(overlap)
		if !errors.Is(err, token.ErrBadTiming) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want ErrBadTiming that says %q", test.name, err, test.want)
		}
	}
	justFits := good
	justFits.P = justFits.W - justFits.G - justFits.D - 1
	if err := justFits.Check(overlap); err != nil {
		t.Errorf("a pause of one nanosecond less than W allows: %v", err)
	}
}
