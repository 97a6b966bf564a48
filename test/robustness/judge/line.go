package judge

import (
	"fmt"
	"strings"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// line is an event in a few words, for people.
func line(e *history.Event) string {
	words := []string{fmt.Sprintf("[%s, %s]", rounded(e.Sent), rounded(e.Received))}
	for _, word := range []string{e.Actor, e.Replica, string(e.Kind), e.Token} {
		if word != "" {
			words = append(words, word)
		}
	}
	if e.MinTTL > 0 {
		words = append(words, fmt.Sprintf("min %v", e.MinTTL))
	}
	if e.Asked > 0 {
		words = append(words, fmt.Sprintf("of v%d", e.Asked))
	}
	if e.Code != "" && e.Code != "OK" {
		words = append(words, e.Code, e.Reason, e.Detail)
	}
	if a := e.Answer; a != nil {
		words = append(words, fmt.Sprintf("-> v%d %s ttl %v", a.Version, a.State, a.TTL), brief(a.Value))
		if a.Local {
			words = append(words, "local")
		}
	}
	if s := e.Stored; s != nil {
		words = append(words, stored(*s))
	}
	for _, k := range e.Candidates {
		words = append(words, fmt.Sprintf("%s(%d proclaimed %t)", k.ID, k.Created, k.Proclaimed))
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// stored is a record in a few words.
func stored(s history.Stored) string {
	words := []string{fmt.Sprintf("rev %d term %d v%d", s.Revision, s.Term, s.Version), brief(s.Value)}
	if s.Attempt != "" {
		words = append(words, fmt.Sprintf("pending %s of term %d", brief(s.Attempt), s.AttemptTerm))
	}
	for _, flag := range []struct {
		set  bool
		word string
	}{{s.Forced, "forced"}, {s.Doubt, "doubt"}, {s.Drained, "drained"}, {s.Condemned, "condemned"}} {
		if flag.set {
			words = append(words, flag.word)
		}
	}
	if s.Resolved != "" {
		words = append(words, "resolved", brief(s.Resolved), s.Outcome)
	}
	if s.Floor > 0 {
		words = append(words, fmt.Sprintf("floor %d", s.Floor))
	}
	return strings.Join(words, " ")
}

// brief is enough of a value to tell it from others. It is a simulated one.
func brief(value string) string {
	if len(value) <= 12 {
		return value
	}
	return value[:12] + ".."
}

// rounded is a time to the millisecond.
func rounded(d time.Duration) string {
	if d == forever {
		return "the end"
	}
	return d.Round(time.Millisecond).String()
}
