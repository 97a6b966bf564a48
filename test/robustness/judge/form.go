package judge

import "github.com/tokenbroker/tokenbroker/test/robustness/history"

// form judges the history itself: what is not understood cannot be judged, and would count for nothing in silence.
func (c *court) form() Check {
	k := c.check("H", "the history is whole and understood")
	for i := range c.Events {
		e := &c.Events[i]
		k.Judged++
		if why := c.malformed(e); why != "" {
			k.violate(why, e)
		}
	}
	seen := map[string]bool{}
	for _, t := range c.Issued {
		k.Judged++
		switch {
		case seen[t.Value]:
			k.violate("WeChat issued " + brief(t.Value) + " twice")
		case c.dossier[t.Token] == nil:
			k.violate("WeChat issued " + brief(t.Value) + " for " + t.Token + ", which nobody keeps")
		}
		seen[t.Value] = true
	}
	return k.done()
}

// malformed says what is wrong with an event; "" if nothing.
func (c *court) malformed(e *history.Event) string {
	about := false // one token
	switch e.Kind {
	case history.Get, history.Watched, history.Report, history.Used, history.Refresh, history.Record, history.Read:
		about = true
	case history.List, history.Status, history.Resign, history.Election, history.Healed:
	case history.Fault:
		switch e.Code {
		case history.EffectKilled, history.EffectPaused, history.EffectHeld, history.EffectCut, history.EffectVanished,
			history.EffectSkewed, history.EffectUpstream, history.EffectNone:
		default:
			return "a fault of an effect that the judge does not know"
		}
	case history.Process:
		if e.Code != history.ProcessStarted && e.Code != history.ProcessEnded || e.Replica == "" {
			return "a process of which it is not said what became of it"
		}
	default:
		return "an event of a kind that the judge does not know"
	}
	switch {
	case e.Replica != "" && c.replica[e.Replica] == nil:
		return "an event about a replica that the case does not name"
	case (about || e.Token != "" && e.Kind != history.Fault) && c.dossier[e.Token] == nil:
		return "an event about a token that the case does not name"
	case e.Received < e.Sent && e.Kind != history.Fault:
		return "an event that ended before it began"
	case c.asksReplica(e) && e.Replica == "":
		return "a call of which it is not said who answered"
	}
	return ""
}

func (c *court) asksReplica(e *history.Event) bool {
	switch e.Kind {
	case history.Get, history.Watched, history.Report, history.List, history.Status, history.Refresh, history.Resign:
		return true
	default:
		return false
	}
}
