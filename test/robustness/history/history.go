// Package history is what a run of the suite saw from outside: every answer that a caller got, every record that came to stand in etcd,
// every change of the election, and every fault, on one clock. The judgement is made from it and from what the simulated WeChat
// issued, and never from the broker's own word.
//
// All times are monotonic and count from the start of the run, on the clock of the suite's process, in which the simulated WeChat
// lives too.
package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// Kind says what an event is.
type Kind string

// The kinds of event.
const (
	// Get is one GetToken.
	Get Kind = "get"
	// Watched is one message of a WatchToken stream; Sent is when the stream was opened.
	Watched Kind = "watched"
	// Report is one ReportInvalidToken. Version is what was reported, Answer what came back.
	Report Kind = "report"
	// Used is a caller's use of a token at WeChat; Code is WeChat's errcode, "0" for accepted.
	Used Kind = "used"
	// List is one ListTokens, Status one GetStatus, Refresh one RefreshToken, Resign one ResignLeadership.
	List    Kind = "list"
	Status  Kind = "status"
	Refresh Kind = "refresh"
	Resign  Kind = "resign"
	// Record is one revision of a token's record in etcd, as the suite's own watch delivered it.
	Record Kind = "record"
	// Read is one linearizable read of a token's record by the suite itself.
	Read Kind = "read"
	// Election is one change of the election's keys.
	Election Kind = "election"
	// Fault begins at Sent and is healed at Received; Code is its effect. Healed marks the end of the last fault of a run.
	Fault  Kind = "fault"
	Healed Kind = "healed"
	// Process is a broker, or a member of etcd as Actor, that was started or has ended, as Code says.
	Process Kind = "process"
)

// Event is one thing that was seen. Which fields are set depends on its kind.
type Event struct {
	Kind Kind `json:"kind"`
	// Actor did it: a caller, the operator, the suite.
	Actor string `json:"actor,omitempty"`
	// Replica was asked, or is concerned.
	Replica string `json:"replica,omitempty"`
	// Token is the token's name.
	Token string `json:"token,omitempty"`
	// Sent is just before the call, Received just after the answer.
	Sent     time.Duration `json:"sent"`
	Received time.Duration `json:"received"`
	// Code is the gRPC code's name, "OK" included; for Used, WeChat's errcode; for Fault and Process, see EffectKilled and the like.
	Code string `json:"code,omitempty"`
	// Reason is the ErrorInfo's reason, Detail the rest of the message, in words.
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Asked is the version that a report named.
	Asked int64 `json:"asked,omitempty"`
	// MinTTL is what a Get asked for.
	MinTTL time.Duration `json:"min_ttl,omitempty"`
	// Answer is the token that came back; nil if none did.
	Answer *Answer `json:"answer,omitempty"`
	// Stored is the record of Record and Read; nil if there was none.
	Stored *Stored `json:"stored,omitempty"`
	// Candidates are the election's keys, for Election, in the order of their create revisions.
	Candidates []Candidate `json:"candidates,omitempty"`
}

// Answer is a token as a caller got it.
type Answer struct {
	Version int64 `json:"version"`
	// Value is the token itself: a simulated one, worth nothing. Empty in a list, and when expired.
	Value string `json:"value,omitempty"`
	// State is "active", "suspect" or "expired".
	State string        `json:"state"`
	TTL   time.Duration `json:"ttl"`
	// Local: the replica fetched it alone, while it was cut off.
	Local bool `json:"local,omitempty"`
}

// Stored is what stands in etcd under one token's key.
type Stored struct {
	// Revision is the key's mod revision.
	Revision int64 `json:"revision"`
	Version  int64 `json:"version"`
	// Value is the stored value, opened.
	Value string `json:"value,omitempty"`
	// Term is the create revision of the election key of the leader that wrote it.
	Term int64 `json:"term"`
	// Write is the random id of the write.
	Write string `json:"write"`
	// Attempt is the pending attempt; empty if none. AttemptTerm is the term that began it.
	Attempt     string `json:"attempt,omitempty"`
	AttemptTerm int64  `json:"attempt_term,omitempty"`
	Forced      bool   `json:"forced,omitempty"`
	Doubt       bool   `json:"doubt,omitempty"`
	Drained     bool   `json:"drained,omitempty"`
	Condemned   bool   `json:"condemned,omitempty"`
	// Resolved is the last attempt whose outcome was written, and Outcome "token" or "none".
	Resolved string `json:"resolved,omitempty"`
	Outcome  string `json:"outcome,omitempty"`
	// Fetches is the number of attempts that the record counts on its day.
	Fetches int64  `json:"fetches"`
	Day     string `json:"day,omitempty"`
	// Floor is the highest version that a replica served alone and that is not yet superseded.
	Floor int64 `json:"floor,omitempty"`
}

// Candidate is one key of the election.
type Candidate struct {
	Key string `json:"key"`
	ID  string `json:"id"`
	// Created is the key's create revision: the term, if it leads.
	Created int64 `json:"created"`
	// Proclaimed: it has put its key a second time, and so leads, or led.
	Proclaimed bool `json:"proclaimed,omitempty"`
}

// Recorder collects events, in the order in which they ended. It is safe for concurrent use.
type Recorder struct {
	start time.Time

	mu     sync.Mutex
	events []Event
}

// NewRecorder begins a history now.
func NewRecorder() *Recorder { return &Recorder{start: time.Now()} }

// Now returns the present time of the history.
func (r *Recorder) Now() time.Duration { return time.Since(r.start) }

// At returns the time of the history at a moment that was read in this process.
func (r *Recorder) At(t time.Time) time.Duration { return t.Sub(r.start) }

// Add adds an event.
func (r *Recorder) Add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Events returns the events so far. They must not be changed.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.events)
}

// Save writes events to a file, a JSON object a line.
func Save(path string, events []Event) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("saving the history: %w", err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for _, e := range events {
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("saving the history: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("saving the history: %w", err)
	}
	return nil
}

// Load reads what Save wrote.
func Load(path string) ([]Event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("loading a history: %w", err)
	}
	defer f.Close()
	var events []Event
	dec := json.NewDecoder(f)
	for {
		var e Event
		if err := dec.Decode(&e); err == io.EOF {
			return events, nil
		} else if err != nil {
			return nil, fmt.Errorf("loading event %d of a history: %w", len(events)+1, err)
		}
		events = append(events, e)
	}
}
