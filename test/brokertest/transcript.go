package brokertest

import (
	"strings"
	"sync"
)

// Transcript collects what a process writes. It is safe for concurrent use.
type Transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (tr *Transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.Write(p)
}

// String returns all that was written.
func (tr *Transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.String()
}

// Tail returns the last lines.
func (tr *Transcript) Tail(lines int) string {
	all := strings.Split(strings.TrimRight(tr.String(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
