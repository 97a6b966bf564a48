package main

import (
	"slices"
	"time"
)

// quantile returns the least of the durations that a share q of them does not exceed; 0 if there are none. It sorts them.
func quantile(durations []time.Duration, q float64) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	slices.Sort(durations)
	n := float64(len(durations))
	at := int(q * n)
	if float64(at) == q*n { // that many are not above the one before
		at--
	}
	return durations[min(max(at, 0), len(durations)-1)]
}

// median returns the middle of the figures, or the mean of the two in the middle; 0 if there are none. It sorts them.
func median(figures []float64) float64 {
	n := len(figures)
	if n == 0 {
		return 0
	}
	slices.Sort(figures)
	return (figures[(n-1)/2] + figures[n/2]) / 2
}
