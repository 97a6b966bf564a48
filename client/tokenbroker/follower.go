package tokenbroker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// follower keeps one token fresh. It runs from the first interest in a name until the client closes, or until the broker says that there is
// no such token while nothing is held.
//
// Three parties bring news: poll asks, listen hears that there is something to ask for, and settle reports. All of it goes through take, failed
// and refuse, which decide under mu what is handed out from then on. Readers load held and nothing else; everybody who changes or waits for
// anything takes mu, and nobody calls the broker while holding it.
type follower struct {
	client *Client
	name   string
	logger *slog.Logger
	asked  chan struct{} // holds a wish to ask the broker at once

	held atomic.Pointer[held] // what may be handed out; nil while there is nothing, or it was refused

	mu       sync.Mutex
	floor    floor         // what is not taken any more
	verdict  *Error        // why the last attempt brought nothing; nil if it did
	pushed   int64         // the newest version that a stream told of
	expired  int64         // the newest version that a stream called expired
	report   *report       // being settled; nil for none
	streams  bool          // a stream told of something, and the attempts to open another have not begun to fail
	over     bool          // ended by itself
	changed  chan struct{} // closed and replaced at each change of the above
	troubled bool          // the log was told of trouble
}

// floor keeps versions from going back: none below the version is taken, nor the version itself once it was refused, until the newest token
// that was handed out has reached its end. After that whatever the broker offers is new: its store may have been replaced.
type floor struct {
	version int64
	refused bool
	until   instant
}

func (l floor) bars(version int64, now instant) bool {
	return now < l.until && (version < l.version || version == l.version && l.refused)
}

func newFollower(c *Client, name string) *follower {
	return &follower{
		client: c, name: name, logger: c.cfg.logger.With("token", name),
		asked: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// run returns when all goroutines of the follower are gone, but for a report's. A follower that ends by itself makes room for another of the
// same name; one that ends with the client stays, so that Close finds what it holds.
func (f *follower) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var listening sync.WaitGroup
	listening.Go(func() { f.listen(ctx) })
	f.poll(ctx)
	if ctx.Err() == nil {
		f.client.forget(f)
	}
	cancel()
	listening.Wait()
}

// ask has the broker asked at once. It does not block.
func (f *follower) ask() {
	select {
	case f.asked <- struct{}{}:
	default:
	}
}

// announce tells whoever waits that something changed. The caller holds mu.
func (f *follower) announce() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait returns the token as soon as there is one, or why there is none.
func (f *follower) wait(ctx context.Context) (Token, error) {
	ctx, cancel := f.client.patience(ctx)
	defer cancel()
	for {
		f.mu.Lock()
		t, err, changed := f.offer(), f.refusal(), f.changed
		// Nothing is wrong with the broker, yet there is no life left: the machine slept, or was too busy to renew it in time.
		lapsed := f.verdict == nil && f.held.Load() != nil
		f.mu.Unlock()
		if !t.IsZero() {
			return t, nil
		}
		if err != nil {
			return Token{}, err
		}
		if lapsed {
			f.ask()
		}
		if err := f.pause(ctx, changed); err != nil {
			return Token{}, err
		}
	}
}

// drop gives up what is held when the client has ended: nobody keeps it fresh any more.
func (f *follower) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held.Store(nil)
}

// offer returns what can be handed out now: what is promised for long enough; or, once the broker was asked in vain for that, what is not
// past its end, if the client takes any life. The caller holds mu.
func (f *follower) offer() Token {
	h, now := f.held.Load(), f.client.clock.now()
	if h == nil || now >= h.usable && (f.client.cfg.minLife > 0 || f.verdict == nil || now >= h.nominal) {
		return Token{}
	}
	return Token{h}
}

// refusal returns why it is of no use to wait. The caller holds mu.
func (f *follower) refusal() error {
	if f.verdict != nil && (f.over || f.verdict.settled()) {
		return f.verdict
	}
	return nil // not a nil *Error
}

// pause blocks until changed is closed. Its error is the end of ctx or of the client.
func (f *follower) pause(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-f.client.life.Done():
		return ErrClosed
	case <-ctx.Done():
		return f.late(context.Cause(ctx))
	}
}

// late is the error of a wait that took too long, with what is known of the reason.
func (f *follower) late(cause error) error {
	f.mu.Lock()
	verdict := f.verdict
	f.mu.Unlock()
	if verdict != nil {
		return fmt.Errorf("waiting for token %q: %w: %w", f.name, cause, verdict)
	}
	return fmt.Errorf("waiting for token %q: %w: the connection is %v", f.name, cause, f.client.conn.GetState())
}

// take takes in the broker's answer to a request that was sent at an instant. It reports whether there is something to hand out now that is
// as new as the broker is known to have it. If it is the answer to a report, and names the reported version, the upstream vouches for that.
// A follower that has ended takes in nothing: nobody would keep it fresh, and reports go to the follower that came after it.
func (f *follower) take(sent instant, t *tokenbrokerv1.Token, answered *report) bool {
	now := f.client.clock.look()
	next := newHeld(f.client.clock, f.client.cfg.minLife, sent, t)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || f.client.life.Err() != nil {
		return false
	}
	cur := f.held.Load()
	// The same report must still be open: by the time of its answer the version may be a newer one that was reported, too.
	vouched := answered != nil && answered == f.report && next.version == answered.version
	switch {
	case *next.value == "" || f.floor.bars(next.version, now) && !vouched:
		if f.verdict == nil && (cur == nil || now >= cur.usable) {
			f.verdict = unavailable(f.name, "the replica that answered knows an older version only")
			f.announce()
		}
		return false
	case cur != nil && now < cur.promised && !next.same(cur) && next.state(now) != Active:
		f.pushed = max(f.pushed, next.version)
		return false // a living token is better than a newer one that may be dead
	case cur != nil && next.same(cur):
		next = next.prolonged(cur)
	case next.version < f.floor.version:
		f.forgetVersions()
	}
	// The floor stands until former tokens are over, too: one of them may have been stated to live longer than this.
	f.held.Store(next)
	f.floor = floor{version: next.version, until: max(next.nominal, f.floor.until)}
	f.verdict = nil
	if now >= next.usable {
		f.verdict = unavailable(f.name, "the broker hands out a token, but does not promise that it lives for as long as is wanted")
	}
	if f.report != nil && (next.version > f.report.version || vouched) {
		f.report = nil
	}
	f.announce()
	return now < next.usable && next.version >= f.pushed // else the next replica may know more
}

// refuse takes a version out of circulation, and everything before it. The caller holds mu.
func (f *follower) refuse(version int64, end instant) {
	f.floor = floor{version: version, refused: true, until: max(end, f.floor.until)}
	if h := f.held.Load(); h != nil && h.version <= version {
		f.held.Store(nil)
	}
	f.announce()
}

// forgetVersions begins anew with what the brokers offer: it is not the same store any more. The caller holds mu.
func (f *follower) forgetVersions() {
	f.logger.Warn("the brokers' versions begin anew", "held", f.floor.version)
	f.floor, f.pushed, f.expired = floor{}, 0, 0
}

// newBackOff returns waits that double up to the longest, with jitter.
func newBackOff(first, longest time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = first, longest, 2
	return b
}
