//go:build !race

package refresh_test

// simulatedDays is how many days TestNoTokenIsLostInAThousandDays simulates.
const simulatedDays = 1000
