//go:build !robustness

package clock

import "time"

// New returns a Clock on the system's clocks.
func New() *Clock {
	base := time.Now()
	return FromSource(func() (time.Duration, time.Time) {
		now := time.Now()
		return now.Sub(base), now.Round(0)
	})
}
