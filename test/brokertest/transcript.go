package brokertest

import (
	"strings"

	"github.com/tokenbroker/tokenbroker/internal/logtest"
)

// Transcript collects what a process writes. It is safe for concurrent use.
type Transcript struct{ logtest.Buffer }

// Tail returns the last lines.
func (tr *Transcript) Tail(lines int) string {
	all := strings.Split(strings.TrimRight(tr.String(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
