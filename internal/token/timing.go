package token

import (
	"errors"
	"fmt"
	"time"
)

// Timing holds the constants of the refresh protocol. They hang together: see Check.
type Timing struct {
	// W is how long a replica may go on promising a token after the last moment at which it was known not to be rotated away, and
	// how long nobody writes another request after an intent that may have issued a token. Less than the upstream's overlap; the
	// difference is the allowance for clocks that run at different rates.
	W time.Duration
	// G: a request is written within G of the sending of its BEGIN, or not at all.
	G time.Duration
	// P is the longest pause of a process between its last look at the clock and the write that the order of requests tolerates.
	P time.Duration
	// D: a request that was written is processed by the upstream within D, or never.
	D time.Duration
	// F is how long a leader waits for the answer to a fetch.
	F time.Duration
}

// WeChat's overlap of five minutes gives W 240 s, G 5 s, P 60 s, D 60 s, F 10 s.
const (
	longestG = 5 * time.Second
	longestF = 10 * time.Second
)

// TimingFor derives the constants from a rotating upstream's overlap. They keep their proportions for a simulated upstream with
// short lives, so that every relation holds there too.
func TimingFor(overlap time.Duration) Timing {
	return Timing{
		W: overlap * 4 / 5,
		G: min(longestG, overlap/10),
		P: overlap / 5,
		D: overlap / 5,
		F: min(longestF, overlap/5),
	}
}

// ErrBadTiming is the cause of every error of Check.
var ErrBadTiming = errors.New("bad protocol timing")

// Check reports whether the constants fit each other and the upstream: all positive, G + P + D < W < overlap.
func (t Timing) Check(overlap time.Duration) error {
	for _, c := range []struct {
		name  string
		value time.Duration
	}{{"W", t.W}, {"G", t.G}, {"P", t.P}, {"D", t.D}, {"F", t.F}} {
		if c.value <= 0 {
			return fmt.Errorf("%w: %s is %v, must be positive", ErrBadTiming, c.name, c.value)
		}
	}
	if t.G+t.P+t.D >= t.W {
		return fmt.Errorf("%w: G + P + D is %v, must be less than W, %v", ErrBadTiming, t.G+t.P+t.D, t.W)
	}
	if t.W >= overlap {
		return fmt.Errorf("%w: W is %v, must be less than the upstream's overlap, %v", ErrBadTiming, t.W, overlap)
	}
	return nil
}

// Settled is how long after BEGIN was answered a request of that attempt is surely over at the upstream, processed or not. It is
// the quiet wait where no promise on the token is left that a later request could betray.
func (t Timing) Settled() time.Duration { return t.G + t.P + t.D }

// LeastAhead is the least remaining life at which a scheduled refresh of a rotating token may start: time for one attempt that
// fails with an unknown outcome, the wait after it, and another attempt.
func (t Timing) LeastAhead() time.Duration { return 2*t.W + t.D }
