package judge_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// scene is a history that is made by hand: replicas r1 and r2, and the tokens of a world, of which W is 8 s, G 1 s, P, D and F 2 s.
// Times are in seconds.
type scene struct {
	judge.Case
	revision int64
	last     map[string]history.Stored
}

func newScene() *scene {
	return &scene{
		Case: judge.Case{
			Tokens: []judge.Token{
				{Name: classic, Rotating: true, Life: life, Overlap: overlap},
				{Name: stable, Life: life, Overlap: overlap},
			},
			Replicas: []string{"r1", "r2"}, SessionTTL: session,
		},
		last: map[string]history.Stored{},
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// issue has WeChat issue a token at a time; it dies at another, of old age if that is a life later.
func (s *scene) issue(name, value string, from, until float64) *history.Issued {
	s.Issued = append(s.Issued, history.Issued{Token: name, Value: value, From: seconds(from), Until: seconds(until), Ends: seconds(from) + life})
	return &s.Issued[len(s.Issued)-1]
}

func (s *scene) add(e history.Event) *history.Event {
	s.Events = append(s.Events, e)
	return &s.Events[len(s.Events)-1]
}

// get is a GetToken that takes 10 ms, and is answered with an active token, or a suspect one if ttl is 0.
func (s *scene) get(at float64, replica, name string, version int64, value string, ttl float64) *history.Event {
	a := &history.Answer{Version: version, Value: value, State: "active", TTL: seconds(ttl)}
	if ttl == 0 {
		a.State = "suspect"
	}
	return s.add(history.Event{
		Kind: history.Get, Actor: "caller", Replica: replica, Token: name, Code: "OK", Answer: a, Sent: seconds(at), Received: seconds(at + 0.01),
	})
}

// fails is a GetToken of the stable token that fails.
func (s *scene) fails(at float64, replica, code, reason string) *history.Event {
	return s.add(history.Event{
		Kind: history.Get, Actor: "caller", Replica: replica, Token: stable, Code: code, Reason: reason, Sent: seconds(at), Received: seconds(at + 0.01),
	})
}

// watched is a message of a stream for the stable token, which was opened at another time.
func (s *scene) watched(opened, at float64, replica string, version int64, value string, ttl float64) {
	e := s.get(at, replica, stable, version, value, ttl)
	e.Kind, e.Sent, e.Received = history.Watched, seconds(opened), seconds(at)
}

// put writes a record: the last one of the token, changed. The watch tells of it 10 ms later, and a read begins 10 ms before it.
func (s *scene) put(at float64, name string, change func(r *history.Stored)) *history.Event {
	rec := s.last[name]
	found := rec
	read := history.Event{Kind: history.Read, Token: name, Sent: seconds(at - 0.01), Received: seconds(at - 0.005), Stored: &found}
	if rec.Revision == 0 {
		read.Stored = nil
	}
	s.add(read)
	s.revision++
	rec.Revision, rec.Write = s.revision, fmt.Sprint("write-", s.revision)
	if rec.Term == 0 {
		rec.Term = 1
	}
	change(&rec)
	s.last[name] = rec
	return s.add(history.Event{Kind: history.Record, Token: name, Sent: seconds(at + 0.01), Received: seconds(at + 0.01), Stored: &rec})
}

// begin, commit and abort are the protocol's steps.
func (s *scene) begin(at float64, name, attempt string) *history.Event {
	return s.put(at, name, func(r *history.Stored) {
		if r.Attempt != "" && name == classic {
			r.Doubt, r.Drained = true, true
		}
		r.Attempt, r.AttemptTerm, r.Day, r.Fetches = attempt, r.Term, "2026-11-22", r.Fetches+1
	})
}

func (s *scene) commit(at float64, name, value string) *history.Event {
	return s.put(at, name, func(r *history.Stored) {
		if r.Value != value {
			r.Version++
		}
		r.Value, r.Resolved, r.Outcome = value, r.Attempt, "token"
		r.Attempt, r.AttemptTerm, r.Forced, r.Doubt, r.Drained, r.Condemned = "", 0, false, false, false, false
	})
}

func (s *scene) abort(at float64, name string) {
	s.put(at, name, func(r *history.Stored) {
		r.Resolved, r.Outcome, r.Attempt, r.AttemptTerm, r.Forced = r.Attempt, "none", "", 0, false
	})
}

// fetch is an attempt that brings a token, which is issued in between.
func (s *scene) fetch(at float64, name, value string, until float64) *history.Issued {
	s.begin(at, name, "for-"+value)
	s.commit(at+0.2, name, value)
	return s.issue(name, value, at+0.1, until)
}

// fault strikes a replica, or all if it has no name.
func (s *scene) fault(from, to float64, replica, effect string) {
	s.add(history.Event{Kind: history.Fault, Replica: replica, Code: effect, Sent: seconds(from), Received: seconds(to)})
}

// restart is the end of a process and the launch of another, by the suite.
func (s *scene) restart(from, to float64, replica string) {
	s.fault(from, to, replica, history.EffectKilled)
	s.add(history.Event{Kind: history.Process, Replica: replica, Code: history.ProcessEnded, Sent: seconds(from), Received: seconds(from)})
	s.add(history.Event{Kind: history.Process, Replica: replica, Code: history.ProcessStarted, Sent: seconds(to), Received: seconds(to)})
}

// elect is a change of the election. Candidates are replicas in the order of their places; the first place is the term given.
func (s *scene) elect(at float64, term int64, proclaimed bool, replicas ...string) *history.Event {
	e := history.Event{Kind: history.Election, Sent: seconds(at), Received: seconds(at)}
	for i, id := range replicas {
		e.Candidates = append(e.Candidates, history.Candidate{Key: id, ID: id, Created: term + int64(i), Proclaimed: proclaimed && i == 0})
	}
	return s.add(e)
}

// expect judges, and compares what one check says: how much is violated, and how much is excluded in all.
func (s *scene) expect(t *testing.T, check string, violated, excluded int) {
	t.Helper()
	k := judge.Judge(s.Case).Check(check)
	got := [2]int{k.Violated, 0}
	for _, x := range k.Excluded {
		got[1] += x.N
	}
	if diff := cmp.Diff([2]int{violated, excluded}, got); diff != "" {
		t.Errorf("%s: violated and excluded (-want +got):\n%s\n%s", check, diff, judge.Verdict{Checks: []judge.Check{k}})
	}
	if k.Judged == 0 {
		t.Errorf("%s judged nothing", check)
	}
}

// expectOf judges, and compares how many violations of one check tell of one thing.
func (s *scene) expectOf(t *testing.T, check, what string, violated int) {
	t.Helper()
	k, got := judge.Judge(s.Case).Check(check), 0
	for _, f := range k.Violations {
		if strings.Contains(f.What, what) {
			got++
		}
	}
	if got != violated {
		t.Errorf("%s: %d violations tell %q, not %d:\n%s", check, got, what, violated, judge.Verdict{Checks: []judge.Check{k}})
	}
}
