package main

import (
	"context"

	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// resealUnattended writes the record of a token that is not configured any more as it is, so that its value is sealed anew: no refresher does,
// and as long as it is sealed with an old key, that key is needed. It keeps nobody waiting. Should the token be configured meanwhile, the
// revision that each write names keeps the two apart.
func (s *termWork) resealUnattended(req token.Request) {
	ledger := s.store.Ledger(req.Name, store.Fence{Key: s.term.Key, Revision: s.term.Revision})
	s.replies.Go(func() {
		ctx, cancel := context.WithTimeout(s.settle, workerRest)
		defer cancel()
		reply := token.Reply{Verdict: token.VerdictDone}
		entry, err := ledger.Read(ctx)
		if err == nil && entry.Revision > 0 {
			_, err = ledger.Write(ctx, entry.Revision, entry.Record)
		}
		if err != nil {
			reply = token.Reply{Verdict: token.VerdictFailed, Reason: err.Error()}
		}
		s.reply(req, reply)
	})
}
