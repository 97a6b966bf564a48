package server

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// tokenMessage is a Token together with the messages that it points to: one allocation instead of four.
type tokenMessage struct {
	token        tokenbrokerv1.Token
	ttl          durationpb.Duration
	refreshAfter durationpb.Duration
	expireTime   timestamppb.Timestamp
}

// fill describes the token without its value.
func (m *tokenMessage) fill(of *view.Token, r view.Reading) *tokenbrokerv1.Token {
	t, traits := &m.token, of.Traits()
	t.Name = of.Name()
	t.Upstream, t.AppId = traits.Kind, traits.AppID
	t.Version = r.Record.Version
	t.State = stateMessage(r.State)
	t.Local = r.Local
	setDuration(&m.ttl, r.TTL)
	t.Ttl = &m.ttl
	setDuration(&m.refreshAfter, refreshAfter(r))
	t.RefreshAfter = &m.refreshAfter
	if !r.Expires.IsZero() {
		m.expireTime.Seconds, m.expireTime.Nanos = r.Expires.Unix(), int32(r.Expires.Nanosecond())
		t.ExpireTime = &m.expireTime
	}
	return t
}

// fillWithValue describes the token and hands out its value, unless there is nothing left of it that a caller could use.
func (m *tokenMessage) fillWithValue(of *view.Token, r view.Reading) *tokenbrokerv1.Token {
	t := m.fill(of, r)
	if r.State != view.Expired {
		t.AccessToken = r.Record.Value.Reveal()
	}
	return t
}

// refreshAfter is when a caller should ask again: for an active token after half to three quarters of its life, and otherwise after
// one to two seconds. Callers that asked together come back apart.
func refreshAfter(r view.Reading) time.Duration {
	if r.State == view.Active {
		return r.TTL/2 + rand.N(r.TTL/4+1)
	}
	return soon()
}

// soon is one to two seconds, jittered.
func soon() time.Duration { return time.Second + rand.N(time.Second) }

// spread adds up to a tenth and a second, so that callers who were sent away together do not come back together.
func spread(d time.Duration) time.Duration { return d + rand.N(d/10+time.Second) }

// setDuration is durationpb.New without its allocation.
func setDuration(m *durationpb.Duration, d time.Duration) {
	m.Seconds, m.Nanos = int64(d/time.Second), int32(d%time.Second)
}

// stateMessage translates a state. A state that is not known yet hands out nothing, like an expired one.
func stateMessage(s view.State) tokenbrokerv1.TokenState {
	switch s {
	case view.Active:
		return tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE
	case view.Suspect:
		return tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT
	default:
		return tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED
	}
}

// timestamp returns nil for the zero time, so that the field stays unset.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// ListTokens implements the method of that name: it shows those tokens that the caller may list. It never blocks. Each token is described as
// of the moment at which it is read; there is no moment at which all of the list was true.
func (s *Server) ListTokens(ctx context.Context, _ *tokenbrokerv1.ListTokensRequest) (*tokenbrokerv1.ListTokensResponse, error) {
	tokens, err := s.shown(visitOf(ctx))
	if err != nil {
		return nil, err
	}
	messages := make([]tokenMessage, len(tokens))
	response := &tokenbrokerv1.ListTokensResponse{Tokens: make([]*tokenbrokerv1.Token, len(tokens))}
	for i, t := range tokens {
		response.Tokens[i] = messages[i].fill(t, t.Read())
	}
	return response, nil
}

// shown returns the tokens, sorted by name, that a caller may be shown. Who may be shown none at all is refused, unless that is so only because
// there are none.
func (s *Server) shown(visit Visit) ([]*view.Token, error) {
	names := s.view.Names()
	tokens := make([]*view.Token, 0, len(names))
	for _, name := range names {
		if visit.Allow(name) != nil {
			continue
		}
		if t := s.view.Token(name); t != nil {
			tokens = append(tokens, t)
		}
	}
	if len(tokens) == 0 {
		return nil, visit.Allow("")
	}
	return tokens, nil
}
