package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// questionTime bounds one question to the leader. A caller who is still there when it ends asks anew, which joins the same request
// in the store; so what nobody waits for any more ends, and what somebody waits for does not.
const questionTime = time.Minute

// cutOffGrace is how long a pursuit goes on at a replica that is cut off: a clock that jumped looks like that for a moment.
const cutOffGrace = 2 * time.Second

// questions are what this replica is asking the leader, each shared by everyone here who wants to know the same.
type questions struct {
	running sync.WaitGroup

	mu   sync.Mutex
	open map[question]*inquiry
}

type question struct {
	kind    token.RequestKind
	name    string
	version int64
	force   bool
}

// inquiry is a question under way.
type inquiry struct {
	done  chan struct{}
	reply token.Reply // set before done is closed
	err   error       // set before done is closed; see inquire
}

// ask joins the question if it is being asked, and else asks it. It does not wait.
func (s *Server) ask(req token.Request) *inquiry {
	q := question{kind: req.Kind, name: req.Name, version: req.Version, force: req.Force}
	s.questions.mu.Lock()
	defer s.questions.mu.Unlock()
	if i := s.questions.open[q]; i != nil {
		return i
	}
	i := &inquiry{done: make(chan struct{})}
	s.questions.open[q] = i
	req.From, req.At = s.cfg.ReplicaID, s.cfg.Wall()
	s.questions.running.Go(func() {
		i.reply, i.err = s.inquire(req)
		s.questions.mu.Lock()
		delete(s.questions.open, q)
		s.questions.mu.Unlock()
		close(i.done)
	})
	return i
}

// inquire asks, on a context that ends with the replica and not with any caller. Its errors are for callers, but for
// context.DeadlineExceeded: questionTime is over.
func (s *Server) inquire(req token.Request) (reply token.Reply, err error) {
	ctx, release := s.ending(context.Background())
	defer release()
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	reply, err = s.asker.Ask(ctx, req)
	switch {
	case err == nil:
		return reply, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return reply, ctx.Err()
	case ctx.Err() != nil:
		return reply, errDraining
	}
	s.cfg.Logger.Warn("asking the leader failed", "request", req.Kind, "token", req.Name, "err", err)
	return reply, s.storeAway()
}

// pursue asks the leader and blocks until it is settled what came of it: the view or the election shows it, the leader says that
// nothing will change, or refuses. Returns errDraining, or the cause of the end of ctx, if that comes first; and STORE_UNREACHABLE soon
// after this replica was cut off, because it would see nothing of the outcome. The question stands, all the same.
//
// settled looks for the outcome; changed returns a channel that is closed when it should look again. Neither blocks.
func (s *Server) pursue(ctx context.Context, req token.Request, changed func() <-chan struct{}, settled func() bool) error {
	inquiry := s.ask(req)
	answered := inquiry.done
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	touched := time.Now()
	for {
		wake := changed()
		switch {
		case settled():
			return nil
		case s.view.InSync():
			touched = time.Now()
		case time.Since(touched) >= cutOffGrace:
			return s.storeAway()
		}
		select {
		case <-answered:
			switch {
			case inquiry.err == nil:
				if final, err := judge(inquiry.reply); final {
					return err
				}
				answered = nil // done, says the leader: wait until it is seen here
			case errors.Is(inquiry.err, context.DeadlineExceeded):
				inquiry = s.ask(req)
				answered = inquiry.done
			default:
				return inquiry.err
			}
		case <-wake:
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.draining:
			return errDraining
		}
	}
}

// judge reports whether the leader's reply ends the pursuit, and with what.
func judge(reply token.Reply) (final bool, err error) {
	switch reply.Verdict {
	case token.VerdictDone:
		return false, nil
	case token.VerdictUnchanged:
		return true, nil
	case token.VerdictExhausted:
		return true, &refusal{code: codes.ResourceExhausted, reason: ReasonRefreshLimit,
			message:    "another fetch is not allowed now: " + reply.Reason,
			retryAfter: spread(reply.RetryAfter)}
	case token.VerdictFailed:
		refused := &refusal{code: codes.Unavailable, reason: ReasonRefreshFailed,
			message:    cmp.Or(reply.Reason, "the fetch failed"),
			retryAfter: spread(reply.RetryAfter)}
		if reply.Failure != nil {
			refused.blame(reply.Failure)
		}
		return true, refused
	default:
		return true, fmt.Errorf("judging the leader's reply: unknown verdict %q", reply.Verdict)
	}
}

// explain is for errors of pursue. It says why what was asked was not settled, if it was the caller's time that ended. A question that
// this replica may never have got through is better asked elsewhere; any other stands. t is nil where it is about no token.
func (s *Server) explain(err error, request string, t *view.Token) error {
	switch {
	case !errors.Is(err, errPatience):
		return err
	case !s.view.InSync():
		return s.storeAway()
	default:
		return s.unsettled(request, t)
	}
}
