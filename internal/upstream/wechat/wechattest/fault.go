package wechattest

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Kind is a way of misbehaving.
type Kind string

// The kinds of fault.
const (
	// Hang never answers: the connection is dropped after Fault.Delay, by ClearFaults, or when the client goes.
	Hang Kind = "hang"
	// Drop closes the connection without an answer.
	Drop Kind = "drop"
	// Slow answers after Fault.Delay, or at ClearFaults if that comes first. Slow before processing is a request that arrives late: it
	// is processed even if its client has gone, and its handler does not end before: call ClearFaults before closing a server.
	Slow Kind = "slow"
	// Garbage answers 200 with Fault.Body, which is nonsense unless given.
	Garbage Kind = "garbage"
	// Truncated drops the connection in the middle of the answer.
	Truncated Kind = "truncated"
	// Status answers with the HTTP status Fault.Status.
	Status Kind = "status"
	// Errcode answers with the errcode Fault.Code.
	Errcode Kind = "errcode"
)

// When says whether a faulty request is processed.
type When string

// Before and After.
const (
	// Before: the fault strikes before processing, so that nothing is issued (but for Slow, which processes later). The default.
	Before When = "before"
	// After: the request is processed, tokens and all, and the fault hides it.
	After When = "after"
)

// Fault is misbehaviour on demand. It works on HTTP only.
type Fault struct {
	// Endpoint is where; empty for all.
	Endpoint Endpoint `json:"endpoint,omitempty"`
	Kind     Kind     `json:"kind"`
	When     When     `json:"when,omitempty"`
	// Times is how many requests it strikes; 0 for all until ClearFaults.
	Times int `json:"times,omitempty"`
	// Client is the address or prefix from which the requests come that it strikes; empty for all.
	Client string `json:"client,omitempty"`
	// Delay is for Hang and Slow; 0 for until ClearFaults.
	Delay  time.Duration `json:"-"`
	Code   int           `json:"code,omitempty"`
	Status int           `json:"status,omitempty"`
	Body   string        `json:"body,omitempty"`

	clients []netip.Prefix
}

// AddFault adds a fault. Of several that fit a request, the one that was added first strikes.
func (w *WeChat) AddFault(f Fault) error {
	switch f.Kind {
	case Hang, Drop, Slow, Garbage, Truncated:
	case Status:
		if f.Status < 100 || f.Status > 599 {
			return fmt.Errorf("a fault with HTTP status %d", f.Status)
		}
	case Errcode:
		if f.Code == 0 {
			return fmt.Errorf("a fault with errcode 0")
		}
	default:
		return fmt.Errorf("unknown kind of fault %q", f.Kind)
	}
	switch f.Endpoint {
	case "", Classic, Stable, DomainIP, UserGet, ClearQuota:
	default:
		return fmt.Errorf("unknown endpoint %q", f.Endpoint)
	}
	if f.When == "" {
		f.When = Before
	}
	if f.When != Before && f.When != After {
		return fmt.Errorf("a fault strikes %q or %q, not %q", Before, After, f.When)
	}
	if f.Times < 0 || f.Delay < 0 {
		return fmt.Errorf("a fault with a negative number")
	}
	if f.Client != "" {
		var err error
		if f.clients, err = parsePrefixes([]string{f.Client}); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, &f)
	return nil
}

// ClearFaults ends all faults and lets go of the requests that they hold: those that hang are dropped, slow ones go on at once.
func (w *WeChat) ClearFaults() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil
	close(w.release)
	w.release = make(chan struct{})
}

// Faults returns the faults that still have requests to strike.
func (w *WeChat) Faults() []Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	faults := make([]Fault, len(w.faults))
	for i, f := range w.faults {
		faults[i] = *f
	}
	return faults
}

// struck is a fault that has met its request.
type struck struct {
	Fault
	release <-chan struct{}
}

// receive counts an incoming request and returns the fault that strikes it, or nil.
func (w *WeChat) receive(endpoint Endpoint, client netip.Addr) *struck {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.received[endpoint]++
	w.wake()
	i := slices.IndexFunc(w.faults, func(f *Fault) bool {
		return (f.Endpoint == "" || f.Endpoint == endpoint) && (f.Client == "" || contains(f.clients, client))
	})
	if i < 0 {
		return nil
	}
	f := w.faults[i]
	hit := &struck{*f, w.release}
	if f.Times > 0 {
		if f.Times--; f.Times == 0 {
			w.faults = slices.Delete(w.faults, i, i+1)
		}
	}
	return hit
}

// hold blocks for the fault's delay, until ClearFaults, or until gone is closed.
func (s *struck) hold(gone <-chan struct{}) {
	var after <-chan time.Time
	if s.Delay > 0 {
		timer := time.NewTimer(s.Delay)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-after:
	case <-s.release:
	case <-gone:
	}
}
