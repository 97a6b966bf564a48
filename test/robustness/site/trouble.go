package site

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// trouble collects what went wrong by itself.
type trouble struct {
	mu   sync.Mutex
	errs []error
}

func (t *trouble) add(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs = append(t.errs, err)
}

func (t *trouble) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.errs...)
}

const (
	tailSize  = 8 << 10 // of a log, in an error
	tailLines = 25
)

// written returns what was written to a log from an offset on, at most the last so many bytes; nothing if it cannot be read.
func written(path string, from, last int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	from = max(from, info.Size()-last)
	text, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err != nil {
		return nil
	}
	return text
}

// tail returns the last lines of what was written to a log from an offset on.
func tail(path string, from int64) string {
	lines := strings.Split(strings.TrimRight(string(written(path, from, tailSize)), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// panickedAsTold reports whether a failpoint's terms made a process panic: gofail's own words are in the trace, some way from its end.
func panickedAsTold(path string, from int64) bool {
	return bytes.Contains(written(path, from, 4<<20), []byte("panic: failpoint panic"))
}

// search looks through a whole log for what no broker may ever write.
func search(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("searching a log: %w", err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		for _, bad := range []string{"panic: ", "panic with a ", "fatal error: ", "WARNING: DATA RACE"} {
			// A panic of a failpoint was wished for, whether it ended the process or was caught on the way.
			if strings.Contains(line, bad) && !strings.Contains(line, "failpoint panic") && !strings.Contains(line, "gofail") {
				return fmt.Errorf("%s:%d: %s", path, n, strings.TrimSpace(line))
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("searching a log: %w", err)
		}
	}
}
