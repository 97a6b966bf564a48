package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// tally counts what came of an attacker's doings. It is safe for concurrent use.
type tally struct {
	mu      sync.Mutex
	results results
}

// results are what came of an attacker's doings so far.
type results struct {
	// Came counts by outcome: a gRPC code, an HTTP status, or what became of a connection.
	Came map[string]int64
	// Held is how many connections or streams are open now, and Longest how long the longest of those that the broker closed was.
	Held    int64
	Longest time.Duration
}

func newTally() *tally { return &tally{results: results{Came: map[string]int64{}}} }

// add counts an outcome.
func (t *tally) add(outcome string) { t.addN(outcome, 1) }

func (t *tally) addN(outcome string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results.Came[outcome] += n
}

// call counts the outcome of a call of gRPC.
func (t *tally) call(err error) {
	if status.Code(err) != codes.Canceled { // the attack is over
		t.add(status.Code(err).String())
	}
}

// hold counts something as open until the returned function is called, with whether it was the broker that ended it.
func (t *tally) hold() (release func(ended bool)) {
	begin := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results.Held++
	return func(ended bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.results.Held--
		if ended {
			t.results.Longest = max(t.results.Longest, time.Since(begin))
		}
	}
}

// now returns a copy.
func (t *tally) now() results {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.results
	r.Came = maps.Clone(r.Came)
	return r
}

// Outcomes of connections.
const (
	sent      = "sent"               // and nobody expects an answer
	served    = "OK"                 // in gRPC's word
	opened    = "opened"             // and held from then on
	closed    = "closed by broker"   // once it was open
	refused   = "refused"            // before it was of any use
	exhausted = "attacker exhausted" // it had no descriptor or port left, so that nothing came of it
)

// connecting is the outcome of an attempt to connect.
func connecting(err error) string {
	switch {
	case err == nil:
		return opened
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.EADDRNOTAVAIL):
		return exhausted
	default:
		return refused
	}
}

// brokerEnded reports whether reading or writing failed because the broker closed the connection, and not the attack itself.
func brokerEnded(ctx context.Context, err error) bool {
	return ctx.Err() == nil && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed)
}

// watchClose reads from a connection until it ends, and reports whether the broker ended it. It blocks until then, or ctx ends, which
// closes the connection.
func watchClose(ctx context.Context, conn net.Conn) bool {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_, err := io.Copy(io.Discard, conn)
	return ctx.Err() == nil && (err == nil || brokerEnded(ctx, err))
}
