package audit

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrUnrecorded is Append's error where a record is required and was not made.
var ErrUnrecorded = errors.New("the audit log cannot be written")

const (
	// DefaultPatience is Config.Patience by default.
	DefaultPatience = time.Second
	// maxQueue is how many bytes wait to be written at most: thousands of lines.
	maxQueue = 4 << 20
	// lookEvery is how often Run looks whether the file is still the one of its name, and tries again what failed.
	lookEvery = time.Second
)

// Config says where the log is written.
type Config struct {
	// File is the path; if it is empty, Out is written to.
	File string
	Out  io.Writer
	// Replica stands in every line.
	Replica string
	// Refuse: who cannot be recorded must not be answered.
	Refuse bool
	// Patience is how long Append waits for a disk that does not answer. Default DefaultPatience.
	Patience time.Duration
	// Logger is told when the log cannot be written, and when it can be again. Default: nobody is.
	Logger *slog.Logger
}

// Log appends records. It is safe for concurrent use.
type Log struct {
	cfg     Config
	metrics metrics
	wake    chan struct{} // has an element when there is something to do
	reopen  atomic.Bool
	// stalled: somebody has waited in vain for the write that is under way.
	stalled atomic.Bool
	// unqueued are lost lines that the writer has not heard of.
	unqueued atomic.Int64

	mu     sync.Mutex
	queue  *batch // what is written next
	closed bool   // Run has ended
}

// batch are lines that are written together.
type batch struct {
	data  []byte
	lines int64
	done  chan struct{} // closed when they have been written, or not
	err   error         // set before done is closed
}

// New returns a Log. It opens and starts nothing: see Run.
func New(cfg Config) *Log {
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Log{cfg: cfg, metrics: newMetrics(), wake: make(chan struct{}, 1), queue: newBatch()}
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// Append writes a record, and waits until it is written: see the package documentation. It returns ErrUnrecorded if the record was not made, or
// not soon enough, and Config.Refuse is set, and nil else.
func (l *Log) Append(r Record) error {
	now := time.Now()
	stalled := l.stalled.Load()
	l.mu.Lock()
	if l.closed || len(l.queue.data) > maxQueue-MaxLine || stalled && l.cfg.Refuse {
		l.mu.Unlock()
		return l.missed()
	}
	b := l.queue
	b.data = r.appendTo(b.data, now, l.cfg.Replica)
	b.lines++
	l.mu.Unlock()
	l.rouse()
	if stalled {
		return nil
	}
	patience := time.NewTimer(l.cfg.Patience)
	defer patience.Stop()
	select {
	case <-b.done:
		if b.err != nil && l.cfg.Refuse {
			return ErrUnrecorded
		}
		return nil
	case <-patience.C:
		return l.waitedInVain(b)
	}
}

// missed books a line that is not even queued.
func (l *Log) missed() error {
	l.metrics.lost.Inc()
	l.unqueued.Add(1)
	if l.cfg.Refuse {
		return ErrUnrecorded
	}
	return nil
}

// waitedInVain has nobody wait again until the batch is written.
func (l *Log) waitedInVain(b *batch) error {
	l.mu.Lock()
	select {
	case <-b.done: // at this very moment
	default:
		if !l.stalled.Swap(true) {
			l.cfg.Logger.Error("the audit log's disk does not answer", "patience", l.cfg.Patience, "refuse", l.cfg.Refuse)
		}
	}
	l.mu.Unlock()
	if l.cfg.Refuse {
		return ErrUnrecorded
	}
	return nil
}

// Reopen has the file opened anew before the next line. It does not wait for that.
func (l *Log) Reopen() {
	l.reopen.Store(true)
	l.rouse()
}

func (l *Log) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends, and then what is queued. It returns an error if the file cannot be opened in the first place. While a write
// hangs it cannot end.
func (l *Log) Run(ctx context.Context) error {
	w := &writer{log: l}
	defer w.close()
	defer l.close()
	if err := w.open(); err != nil {
		return err
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-l.wake:
			w.follow(l.reopen.Swap(false))
		case <-look.C:
			w.follow(w.moved())
		case <-ctx.Done():
			l.close()
			w.flush()
			return nil
		}
		w.flush()
	}
}

// close lets nothing into the queue any more.
func (l *Log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

// take returns what is to be written now.
func (l *Log) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.queue
	l.queue = newBatch()
	return b
}

// settle tells those who wait what became of their lines. Holds the lock, so that who finds nothing settled may say that the disk stalls.
func (l *Log) settle(b *batch, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.err = err
	close(b.done)
	l.stalled.Store(false)
}
