package judge_test

import (
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// keep is what a leader does for one token in one tick.
func (w *world) keep(b *broker, k *kept) {
	rec := history.Stored{}
	if k.rec != nil {
		rec = *k.rec
	}
	switch a := k.attempt; {
	case a != nil && w.now == a.issue && a.outcome != token.OutcomeNone:
		a.value = w.issue(k, rec.Forced, false)
		w.c.Issued[k.current].Replica = b.id
	case a != nil && w.now >= a.settle:
		w.settle(k, rec)
	case a != nil:
	case rec.Value != "" && !rec.Condemned && w.find(rec.Value).Until <= w.now:
		rec.Condemned = true
		w.put(k, rec)
	case w.now >= k.quiet && (k.ordered || w.due(k, rec)):
		w.begin(k, rec)
	}
}

func (w *world) due(k *kept, rec history.Stored) bool {
	return rec.Value == "" || rec.Condemned || rec.Doubt || rec.Attempt != "" || w.now >= k.log[len(k.log)-1].ends-k.Ahead
}

func (w *world) begin(k *kept, rec history.Stored) {
	if rec.Doubt || rec.Attempt != "" && (k.Rotating || rec.Forced) {
		rec.Doubt, rec.Drained = true, true
	}
	rec.Attempt, rec.AttemptTerm, rec.Forced = w.id("attempt"), w.queue[0].Created, k.ordered && k.force
	rec.Fetches, rec.Day = rec.Fetches+1, "2026-11-22"
	k.ordered = false
	w.put(k, rec)
	if k.Rotating || rec.Forced {
		if k.quiet = w.now + k.Timing.W; rec.Drained || rec.Forced {
			k.quiet = w.now + k.Timing.Settled()
		}
	}
	k.attempt = &attempt{began: w.now, issue: w.now + tick, settle: w.now + 2*tick, outcome: token.OutcomeToken}
	switch n := w.rng.IntN(10); {
	case w.now >= w.lifetime-peace:
	case n == 0:
		k.attempt.outcome = token.OutcomeUnknown
	case n == 1:
		k.attempt.outcome = token.OutcomeNone
	}
}

// settle writes what came of an attempt.
func (w *world) settle(k *kept, rec history.Stored) {
	a := k.attempt
	k.attempt = nil
	switch {
	case a.outcome == token.OutcomeUnknown:
		k.quiet = max(k.quiet, w.now+time.Second)
	case a.outcome == token.OutcomeNone, a.value == rec.Value && (rec.Condemned || rec.Forced):
		rec.Resolved, rec.Outcome = rec.Attempt, "none"
		rec.Attempt, rec.AttemptTerm, rec.Forced = "", 0, false
		k.quiet = w.now + time.Second
	default:
		if rec.Value != a.value {
			rec.Version++
		}
		rec.Resolved, rec.Outcome, rec.Value = rec.Attempt, "token", a.value
		rec.Attempt, rec.AttemptTerm, rec.Forced = "", 0, false
		rec.Doubt, rec.Drained, rec.Condemned = false, false, false
		if !k.Rotating {
			k.quiet = 0
		}
	}
	w.put(k, rec)
}

// put writes a record.
func (w *world) put(k *kept, rec history.Stored) {
	w.revision++
	rec.Revision, rec.Term, rec.Write = w.revision, w.queue[0].Created, w.id("write")
	k.rec = &rec
	s := stood{at: w.now, rec: rec, ends: w.now - time.Second}
	if rec.Value != "" {
		s.ends = w.find(rec.Value).Ends - time.Second
	}
	if rec.Doubt || rec.Attempt != "" {
		switch n := len(k.log); {
		case !k.Rotating:
			s.frozen = s.ends
			if rec.Doubt || rec.Forced {
				s.frozen = 0
			}
		case n > 0 && k.log[n-1].frozen > 0:
			s.frozen = k.log[n-1].frozen
		default:
			s.frozen = w.now + k.Timing.W
		}
	}
	k.log = append(k.log, s)
	stored := rec
	w.add(history.Event{Kind: history.Record, Token: k.Name, Sent: w.now, Received: w.now + w.upTo(tick/5), Stored: &stored})
}

// issue is a fetch at WeChat. It returns the value that is answered.
func (w *world) issue(k *kept, force, foreign bool) string {
	end := func(i int, at time.Duration) {
		if i >= 0 {
			w.c.Issued[i].Until = min(w.c.Issued[i].Until, at)
		}
	}
	alive := k.current >= 0 && w.c.Issued[k.current].Until > w.now
	switch {
	case k.Rotating:
		end(k.previous, w.now)
		end(k.current, w.now+k.Overlap)
	case force:
		end(k.previous, w.now)
		end(k.current, w.now)
	case alive && w.c.Issued[k.current].Ends-w.now > k.Overlap:
		return w.c.Issued[k.current].Value
	case alive:
		w.c.Issued[k.current].Until = max(w.c.Issued[k.current].Until, w.now+k.Overlap)
	}
	k.previous, k.current = k.current, len(w.c.Issued)
	w.c.Issued = append(w.c.Issued, history.Issued{
		Value: w.id("value"), Token: k.Name, From: w.now, Until: w.now + k.Life, Ends: w.now + k.Life,
		Forced: force && !k.Rotating, Foreign: foreign,
	})
	return w.c.Issued[k.current].Value
}

func (w *world) find(value string) history.Issued {
	for _, t := range slices.Backward(w.c.Issued) {
		if t.Value == value {
			return t
		}
	}
	return history.Issued{}
}
