//go:build robustness

package clock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fileVariable is the environment variable that names the file in which the robustness suite says how wrong the wall clock is: a
// duration as Go writes it, such as -10m0s. No file is no offset.
const fileVariable = "TOKENBROKER_CLOCK_FILE"

// bendEvery is how long an offset counts before the file is read again.
const bendEvery = 50 * time.Millisecond

// New returns a Clock on the system's clocks, the wall clock of which is wrong by what the file says. A change of the file is a jump.
// What cannot be understood panics: a run in which the clock silently is right proves nothing.
func New() *Clock {
	base := time.Now()
	b := bend{file: os.Getenv(fileVariable), base: base}
	return FromSource(func() (time.Duration, time.Time) {
		now := time.Now()
		return now.Sub(base), now.Round(0).Add(b.offset(now.Sub(base)))
	})
}

// bend is how wrong the wall clock is. It is safe for concurrent use.
type bend struct {
	file string
	base time.Time

	last atomic.Pointer[bent]
	mu   sync.Mutex // held while the file is read
}

// bent is what the file said, and the monotonic time at which it was asked.
type bent struct {
	at     time.Duration
	offset time.Duration
}

// offset returns what the file says, or said at most bendEvery ago.
func (b *bend) offset(now time.Duration) time.Duration {
	if b.file == "" {
		return 0
	}
	if last := b.last.Load(); last != nil && now-last.at < bendEvery {
		return last.offset
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	// Whoever waited for the lock has an older now: it must not take the offset back to an older one.
	if last := b.last.Load(); last != nil && now-last.at < bendEvery {
		return last.offset
	}
	read := bent{at: time.Since(b.base), offset: b.read()}
	b.last.Store(&read)
	return read.offset
}

func (b *bend) read() time.Duration {
	text, err := os.ReadFile(b.file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		panic(fmt.Sprintf("reading how wrong the clock is: %v", err))
	}
	offset, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		panic(fmt.Sprintf("reading how wrong the clock is: %v", err))
	}
	return offset
}
