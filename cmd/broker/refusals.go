package main

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// refusals remembers why a broker refused a call that gRPC then repeated by itself. Where the time runs out in a repetition, the bare
// DEADLINE_EXCEEDED of that would hide it.
type refusals struct {
	mu   sync.Mutex
	last *status.Status
}

// explain returns the last refusal in the place of an error that says only that the time is over.
func (r *refusals) explain(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := status.Convert(err); r.last != nil && st.Code() == codes.DeadlineExceeded && len(st.Details()) == 0 {
		return r.last.Err()
	}
	return err
}

// HandleRPC implements stats.Handler. It is told of each try. What a broker says itself has details; what gRPC says has none.
func (r *refusals) HandleRPC(_ context.Context, s stats.RPCStats) {
	end, ended := s.(*stats.End)
	if !ended {
		return
	}
	if st := status.Convert(end.Error); len(st.Details()) > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.last = st
	}
}

// TagRPC, TagConn and HandleConn complete stats.Handler.
func (*refusals) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*refusals) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*refusals) HandleConn(context.Context, stats.ConnStats)                       {}
