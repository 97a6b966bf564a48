//go:build race

package refresh_test

// simulatedDays is less under the race detector, which makes the simulation ten times slower.
const simulatedDays = 100
