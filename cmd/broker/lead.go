package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/leader"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// How the leader's work is paced.
const (
	workerRest = 10 * time.Second // before a refresher that failed is started again
	mailSlots  = 16               // calls that may wait for one refresher; the rest wait in the store
)

// supervisor is the leader's work: one refresher for each configured token, and the post for them.
type supervisor struct {
	store *store.Store
	log   *slog.Logger
	// catalog returns the present refreshers by name, and a channel that is closed when they change.
	catalog func() (map[string]*refresh.Refresher, <-chan struct{})
	// resign ends the term of the given revision.
	resign func(revision int64) bool
	// settle outlives every term; it ends when the process must.
	settle context.Context
}

// lead works for one term. It returns when ctx has ended and every fetch in flight is settled, or earlier if another replica should
// lead.
func (c *supervisor) lead(ctx context.Context, term leader.Term) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s := &termWork{
		supervisor: c, term: term, log: c.log.With("term", term.Revision), stop: stop,
		workers: map[string]*worker{}, ended: make(chan *worker), delivered: map[token.Request]int64{},
	}
	defer s.replies.Wait()
	defer s.stopAll()
	for {
		refreshers, reloaded := c.catalog()
		s.reconcile(ctx, refreshers)
		letters, orphans, posted := c.store.Waiting()
		s.deliver(letters, orphans)
		timer := time.NewTimer(workerRest)
		select {
		case <-ctx.Done():
		case <-reloaded:
		case <-posted:
		case <-timer.C: // workers that rest, calls that found no slot
		case w := <-s.ended:
			s.workerEnded(w)
		}
		timer.Stop()
		if ctx.Err() != nil {
			return handedOver(ctx)
		}
	}
}

// handedOver returns ErrHandOver if that is why the term ends, else nil.
func handedOver(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, refresh.ErrHandOver) {
		return cause
	}
	return nil
}

// termWork is the state of one term. Only lead's goroutine touches it.
type termWork struct {
	*supervisor
	term      leader.Term
	log       *slog.Logger
	stop      context.CancelCauseFunc
	workers   map[string]*worker
	ended     chan *worker
	delivered map[token.Request]int64 // the newest letter delivered under each request's key
	replies   sync.WaitGroup
}

// worker runs one refresher.
type worker struct {
	name      string
	refresher *refresh.Refresher
	orphans   chan struct{}
	calls     chan token.Call
	orphan    int64 // the newest orphan that was signalled
	cancel    context.CancelFunc
	err       error
	restUntil time.Time // set when it has ended
}

// reconcile starts and stops workers so that there is one for each refresher.
func (s *termWork) reconcile(ctx context.Context, refreshers map[string]*refresh.Refresher) {
	for name, w := range s.workers {
		if refreshers[name] != w.refresher && w.restUntil.IsZero() {
			s.stopWorker(w)
		}
		if refreshers[name] != w.refresher || !w.restUntil.IsZero() && time.Now().After(w.restUntil) {
			if next := refreshers[name]; next != nil && next != w.refresher {
				next.Follow(w.refresher)
			}
			delete(s.workers, name)
		}
	}
	for name, r := range refreshers {
		if s.workers[name] == nil {
			s.startWorker(ctx, name, r)
		}
	}
}

func (s *termWork) startWorker(ctx context.Context, name string, r *refresh.Refresher) {
	ctx, cancel := context.WithCancel(ctx)
	w := &worker{
		name: name, refresher: r, orphans: make(chan struct{}, 1), calls: make(chan token.Call, mailSlots), cancel: cancel,
	}
	s.workers[name] = w
	for req := range s.delivered {
		if req.Name == name {
			delete(s.delivered, req) // what its predecessor left unanswered
		}
	}
	ledger := s.store.Ledger(name, store.Fence{Key: s.term.Key, Revision: s.term.Revision})
	go func() {
		defer cancel()
		w.err = r.Run(ctx, s.settle, s.term.Revision, ledger, refresh.Inbox{Orphans: w.orphans, Calls: w.calls})
		s.ended <- w
	}()
}

// stopWorker ends a worker and waits until it has settled its fetch.
func (s *termWork) stopWorker(w *worker) {
	w.cancel()
	for w.restUntil.IsZero() {
		s.workerEnded(<-s.ended)
	}
}

func (s *termWork) stopAll() {
	s.stop(nil)
	for _, w := range s.workers {
		s.stopWorker(w)
	}
}

// workerEnded notes that a worker has ended, and why. What concerns the term ends the term; what concerns one token rests and tries again.
func (s *termWork) workerEnded(w *worker) {
	w.restUntil = time.Now().Add(workerRest)
	switch {
	case w.err == nil:
	case errors.Is(w.err, refresh.ErrHandOver), errors.Is(w.err, token.ErrDeposed):
		s.stop(w.err)
	case s.settle.Err() != nil:
	default:
		s.log.Error("refreshing failed; trying again soon", "token", w.name, "err", w.err)
	}
}

// deliver hands out what is in the store for the leader and was not handed out yet.
func (s *termWork) deliver(letters []store.Letter, orphans map[string]int64) {
	for name, revision := range orphans {
		if w := s.workers[name]; w != nil && revision > w.orphan {
			w.orphan = revision
			select {
			case w.orphans <- struct{}{}:
			default:
			}
		}
	}
	for _, l := range letters {
		key := token.Request{Kind: l.Kind, Name: l.Name, Version: l.Version, Force: l.Force}
		if s.delivered[key] < l.Revision && s.hand(l) {
			s.delivered[key] = l.Revision
		}
	}
}

// hand gives one request to whom it concerns. It returns false if there is no room now.
func (s *termWork) hand(l store.Letter) bool {
	if l.Kind == token.RequestResign {
		s.reply(l.Request, token.Reply{Verdict: token.VerdictDone})
		if l.Version == s.term.Revision {
			s.log.Info("resigning, as an operator asked", "from", l.From)
			s.resign(l.Version)
		}
		return true
	}
	w := s.workers[l.Name]
	switch {
	case w == nil && l.Kind == token.RequestReseal:
		s.resealUnattended(l.Request)
		return true
	case w == nil:
		s.reply(l.Request, token.Reply{Verdict: token.VerdictFailed, Reason: "the leader's configuration has no token of this name"})
		return true
	}
	call := token.Call{Request: l.Request, Reply: func(reply token.Reply) { s.reply(l.Request, reply) }}
	select {
	case w.calls <- call:
		return true
	default:
		return false
	}
}

// reply writes the answer to the store, without keeping the caller waiting.
func (s *termWork) reply(req token.Request, reply token.Reply) {
	s.replies.Go(func() {
		ctx, cancel := context.WithTimeout(s.settle, workerRest)
		defer cancel()
		if err := s.store.Answer(ctx, req, reply); err != nil {
			s.log.Warn("answering a request failed", "token", req.Name, "kind", string(req.Kind), "err", err)
		}
	})
}
