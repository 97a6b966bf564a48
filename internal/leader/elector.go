package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Elector stands in an election, again and again.
type Elector struct {
	client  *clientv3.Client
	cfg     Config
	running atomic.Bool

	mu      sync.Mutex // guards what follows
	term    int64      // the revision of the term whose lead runs; 0 if none does
	resign  context.CancelCauseFunc
	trusted func() bool // whether the term's lease is trusted now
}

// New returns an Elector. It starts nothing.
func New(client *clientv3.Client, cfg Config) (*Elector, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configuring the election: %w", err)
	}
	return &Elector{client: client, cfg: cfg}, nil
}

// Run stands in the election until ctx ends, and then returns nil. Each time it wins it calls lead, and never twice at once.
//
// lead's context ends when the trust in the term does: the cause is ErrTrustLost, ErrResigned, or ctx's own. lead may go on as long as
// it must to settle what it has begun; unless trust is lost the key stays in etcd meanwhile, so that nobody else leads. When lead
// returns, the key is deleted, and Run queues behind the others. A lead that returns by itself thereby hands over; its error, if any,
// is logged.
//
// After the end of ctx, and of lead, Run returns within half a TTL, whatever state etcd is in. Run must not be called while it runs.
func (e *Elector) Run(ctx context.Context, lead func(ctx context.Context, term Term) error) error {
	if !e.running.CompareAndSwap(false, true) {
		return errors.New("the elector runs already")
	}
	defer e.running.Store(false)

	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval, wait.Multiplier, wait.RandomizationFactor = 100*time.Millisecond, e.cfg.TTL/2, 2, 0.5
	failing := false
	for ctx.Err() == nil {
		begun := e.cfg.Clock.Now()
		err := e.stand(ctx, lead)
		if err != nil && ctx.Err() == nil {
			e.cfg.Logger.Log(ctx, failureLevel(failing), "standing for election failed; trying on", told(err)...)
		}
		failing = err != nil
		// What lasted is not what the pause is against: calls that fail, and leads that return, one after the other.
		if e.cfg.Clock.Now().Sub(begun) > 2*e.cfg.TTL {
			wait.Reset()
		}
		pause(ctx, wait.NextBackOff())
	}
	return nil
}

// failureLevel is for a failure that may be one of many: only the first in a row is news.
func failureLevel(again bool) slog.Level {
	if again {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// told is a failure as the log has it, with what to do where it does not pass by itself.
func told(err error) []any {
	attrs := []any{slog.Any("err", err)}
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		attrs = append(attrs, slog.String("remedy", "grant the broker's etcd user readwrite permission on the whole namespace"))
	}
	return attrs
}

// Resign ends the term of this revision, if it is the one that lead runs for: lead's context ends with the cause ErrResigned. It
// reports whether that was so. It does not wait for lead.
func (e *Elector) Resign(revision int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.term == 0 || e.term != revision {
		return false
	}
	e.resign(ErrResigned)
	return true
}

// Leading returns the revision of the term that lead runs for, as long as the trust in it lasts; else 0. It does not block.
func (e *Elector) Leading() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.term == 0 || !e.trusted() {
		return 0
	}
	return e.term
}

// stand opens a session, waits for its turn, leads, and closes the session.
func (e *Elector) stand(ctx context.Context, lead func(context.Context, Term) error) (err error) {
	alive, s, err := open(ctx, e.client, e.cfg)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.close(ctx); cerr != nil {
			err = errors.Join(err, cerr)
		}
	}()
	// The round ends with ctx or with the trust. The session lives on until it is closed.
	round, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(alive, func() { end(context.Cause(alive)) })()

	c, term, err := campaign(round, e.client, e.cfg, s)
	if err != nil {
		return err
	}
	s.work.Go(func() { c.guard(round) })

	// It looks at the clock itself: a process that was paused may be asked before keep has noticed.
	e.hold(term.Revision, end, func() bool { return alive.Err() == nil && s.doubt(e.cfg.Clock.Read()) == nil })
	defer e.hold(0, nil, nil)
	log := e.cfg.Logger.With(slog.Int64("term", term.Revision), slog.String("key", term.Key))
	log.Info("leading")
	// gofail: var leaderAfterProclaim struct{}
	err = lead(round, term)
	level := slog.LevelInfo
	if errors.Is(context.Cause(round), ErrTrustLost) {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.Any("cause", context.Cause(round))}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	log.LogAttrs(ctx, level, "lead ended", attrs...)
	return nil
}

// hold notes the term whose lead runs, how to end it, and how to ask for the trust in it.
func (e *Elector) hold(term int64, resign context.CancelCauseFunc, trusted func() bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.term, e.resign, e.trusted = term, resign, trusted
}
