//go:build !linux

package main

// forbidCoreDumps does nothing here: what is promised of core dumps holds on Linux. Elsewhere `ulimit -c 0` before the start does it.
func forbidCoreDumps() error { return nil }
