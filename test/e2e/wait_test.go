package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// ample bounds waits for what takes well under a second on an idle machine, and says nothing about speed.
const ample = 30 * time.Second

// eventually waits until a condition holds, and fails the test if it does not within the time given. what says in words what did not
// come to be; its arguments are evaluated beforehand.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// transcript collects what a process writes.
type transcript struct{ brokertest.Transcript }

// await waits until a text has been written.
func (tr *transcript) await(t *testing.T, text string) {
	t.Helper()
	eventually(t, ample, "the text \""+text+"\"", func() bool { return strings.Contains(tr.String(), text) })
}
