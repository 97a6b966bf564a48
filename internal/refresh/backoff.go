package refresh

import (
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Back-off: how long the leader leaves the upstream alone after a failure, before jitter.
const (
	firstRetry   = time.Second      // after the first transient failure; doubles
	longestRetry = time.Minute      // for transient failures
	slowRetry    = 15 * time.Second // after the first failure that a human has to mend; doubles
	slowestRetry = 10 * time.Minute
	minuteQuota  = time.Minute
	// Vendors' daily quotas do not always behave as documented, and an operator can have them reset: ask again now and then.
	quotaRetry = 30 * time.Minute
	// With no living token nothing is gained by patience.
	urgentRetry     = 15 * time.Second
	urgentSlowRetry = time.Minute
)

// backOff returns how long to wait after the given failure, the failures-th in a row (from 1), with left until the nominal end of
// the current value. The waits of failures that pass by themselves, or that somebody may be mending, shrink to an eighth of what is
// left, so that they come ever closer before the end; waits that the upstream demanded do not. jitter is in [0, 1) and spreads the
// result over 75% to 125%.
func backOff(f token.Failure, failures int, left time.Duration, jitter float64) time.Duration {
	var wait time.Duration
	switch f.Class {
	case token.MinuteQuota:
		wait = max(minuteQuota, f.RetryAfter)
	case token.DailyQuota:
		wait = min(quotaRetry, max(f.RetryAfter, minuteQuota))
	case token.Blocked:
		wait = max(f.RetryAfter, slowRetry)
	case token.Human, token.Address, token.Bug:
		wait = hurry(doubled(slowRetry, failures, slowestRetry), urgentSlowRetry, left)
	default:
		wait = max(hurry(doubled(firstRetry, failures, longestRetry), urgentRetry, left), f.RetryAfter)
	}
	wait = time.Duration(float64(wait) * (0.75 + jitter/2))
	if f.Class == token.DailyQuota {
		return wait
	}
	return max(wait, f.RetryAfter+time.Duration(jitter*float64(time.Second)))
}

func doubled(first time.Duration, failures int, longest time.Duration) time.Duration {
	for range failures - 1 {
		if first *= 2; first >= longest {
			return longest
		}
	}
	return first
}

// hurry bounds a wait by an eighth of what is left, and when little or nothing is left by urgent.
func hurry(wait, urgent, left time.Duration) time.Duration {
	return min(wait, max(left/8, urgent))
}
