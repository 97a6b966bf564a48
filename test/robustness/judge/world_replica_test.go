package judge_test

import (
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// ask has callers ask, and the suite look at etcd.
func (w *world) ask() {
	for _, k := range w.tokens {
		for _, b := range w.brokers {
			if b.down > w.now {
				b.reset()
				if w.rng.IntN(5) == 0 {
					w.call(history.Event{Kind: history.Get, Replica: b.id, Token: k.Name, Code: "Unavailable"})
				}
				continue
			}
			a := w.answer(b, k)
			w.watch(b, k, a)
			switch n := w.rng.IntN(25); {
			case n < 5:
				w.call(w.getEvent(b, k, a))
			case n == 5:
				a.Value = ""
				w.call(history.Event{Kind: history.List, Replica: b.id, Token: k.Name, Code: "OK", Answer: &a})
			}
		}
		if w.rng.IntN(8) == 0 {
			e := history.Event{Kind: history.Read, Token: k.Name, Sent: w.now - tick/10, Received: w.now + tick/10}
			if k.rec != nil {
				found := *k.rec
				e.Stored = &found
			}
			w.add(e)
		}
	}
}

func (w *world) call(e history.Event) {
	e.Actor, e.Sent, e.Received = "caller", w.now-w.upTo(tick/2), w.now+w.upTo(tick/2)
	w.add(e)
}

func (w *world) getEvent(b *broker, k *kept, a history.Answer) history.Event {
	e := history.Event{Kind: history.Get, Replica: b.id, Token: k.Name, Code: "OK", Answer: &a}
	if a.State == "expired" {
		e.Code, e.Reason, e.Answer = "Unavailable", "NO_TOKEN", nil
	}
	return e
}

// watch sends a message on a stream if there is something new.
func (w *world) watch(b *broker, k *kept, a history.Answer) {
	if _, open := b.open[k.Name]; !open {
		b.open[k.Name] = w.now - time.Millisecond
	}
	last := b.told[k.Name]
	if a.Version > last.Version || a.Version == last.Version && a.State != last.State && a.Version > 0 {
		b.told[k.Name] = a
		w.add(history.Event{
			Kind: history.Watched, Actor: "watcher", Replica: b.id, Token: k.Name, Code: "OK",
			Sent: b.open[k.Name], Received: w.now + w.upTo(tick/2), Answer: &a,
		})
	}
}

// answer is what a replica may promise now.
func (w *world) answer(b *broker, k *kept) history.Answer {
	contact := w.now
	if b.cut > w.now {
		contact = b.deaf
	}
	var s stood
	for i := len(k.log) - 1; i >= 0 && s.at == 0; i-- {
		if k.log[i].at+b.lag <= contact {
			s = k.log[i]
		}
	}
	a := history.Answer{Version: s.rec.Version, State: "expired"}
	proof := contact - b.lag - w.upTo(time.Second)
	if contact-b.lag < b.since || s.rec.Value == "" || s.rec.Condemned || s.ends <= w.now {
		if contact-b.lag < b.since {
			a.Version = 0
		}
		return a
	}
	end := s.ends
	if k.Rotating {
		end = min(end, proof+k.Timing.W)
	}
	if s.rec.Doubt || s.rec.Attempt != "" {
		if end = min(end, s.frozen); k.Rotating && s.at < b.since {
			end = 0
		}
	}
	a.Value, a.State = s.rec.Value, "suspect"
	if end > w.now {
		a.State, a.TTL = "active", end-w.now
	}
	return a
}
