package server

import (
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// watchTick is how often a stream looks at an active token although nothing changed: a clock that jumped ends promises early.
const watchTick = 5 * time.Second

// WatchToken implements the method of that name. The stream holds no queue: while Send blocks on a slow reader nothing is
// remembered, and what is sent next is what is true then. (The transport buffers up to about 128 KB before Send blocks.)
//
// It returns when the caller goes away or may not have the token any longer, the replica drains, or the token is no longer configured. A
// token whose upstream was replaced goes on under its name.
func (s *Server) WatchToken(req *tokenbrokerv1.WatchTokenRequest, stream grpc.ServerStreamingServer[tokenbrokerv1.WatchTokenResponse]) error {
	t, err := s.find(req.GetName())
	if err != nil {
		return err
	}
	var sent told
	visit := visitOf(stream.Context())
	timer := time.NewTimer(watchTick)
	defer timer.Stop()
	for {
		changed := t.Changed()
		if t.Removed() {
			if t, err = s.find(t.Name()); err != nil {
				return err
			}
			continue
		}
		r := t.Read()
		if sent.outdated(r) {
			message := &tokenbrokerv1.WatchTokenResponse{Token: new(tokenMessage).fillWithValue(t, r)}
			if err := stream.Send(message); err != nil {
				if gone := stream.Context().Err(); gone != nil {
					return gone
				}
				return fmt.Errorf("sending token %q: %w", t.Name(), err)
			}
			sent = told{version: r.Record.Version, state: r.State}
			continue // sending may have taken long
		}
		timer.Reset(nextLook(r))
		if err := s.pause(stream.Context(), changed, timer.C); err != nil {
			return err
		}
		if err := visit.Allow(t.Name()); err != nil {
			return err
		}
	}
}

// told is what a stream's reader was told last. The zero value, version 0 and expired, is what a token is before it was ever fetched:
// there is nothing to tell of it.
type told struct {
	version int64
	state   view.State
}

// outdated reports whether the reader must be told. Versions never go back, also when a token is configured anew and its record is
// still to come.
func (t told) outdated(r view.Reading) bool {
	return r.Record.Version > t.version || r.Record.Version == t.version && r.State != t.state
}

// nextLook is how long nothing can change without the view telling: until the promise, or the token's life, ends.
func nextLook(r view.Reading) time.Duration {
	switch r.State {
	case view.Active:
		return min(r.TTL, watchTick)
	case view.Suspect:
		return min(r.Nominal, watchTick)
	default:
		return watchTick
	}
}
