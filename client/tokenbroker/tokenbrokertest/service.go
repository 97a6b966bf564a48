package tokenbrokertest

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// retryAfter is when a caller is told to come back.
const retryAfter = time.Second

// service answers calls. It is apart from Broker so that a test sees nothing but what is for tests.
type service struct {
	tokenbrokerv1.UnimplementedTokenBrokerServiceServer
	broker *Broker
}

// GetToken implements the method of that name. It waits for nothing.
func (s *service) GetToken(_ context.Context, req *tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
	b := s.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[req.GetName()]++
	t, err := b.answer(req.GetName())
	if err != nil {
		return nil, err
	}
	if least := req.GetMinTtl().AsDuration(); t.GetTtl().AsDuration() < least {
		return nil, status.Errorf(codes.DeadlineExceeded, "only %v is promised, min_ttl asks for %v", t.GetTtl().AsDuration(), least)
	}
	return &tokenbrokerv1.GetTokenResponse{Token: t}, nil
}

// WatchToken implements the method of that name.
func (s *service) WatchToken(req *tokenbrokerv1.WatchTokenRequest, stream grpc.ServerStreamingServer[tokenbrokerv1.WatchTokenResponse]) error {
	b := s.broker
	var version int64
	state := tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED
	for {
		b.mu.Lock()
		err, e, changed := b.failure, b.tokens[req.GetName()], b.changed
		message := &tokenbrokerv1.WatchTokenResponse{}
		if e != nil {
			message.Token = e.describe(req.GetName(), true)
		}
		b.mu.Unlock()
		if err != nil {
			return err
		}
		if e == nil {
			return unknown(req.GetName())
		}
		if t := message.GetToken(); t.GetVersion() != version || t.GetState() != state {
			if err := stream.Send(message); err != nil {
				return err
			}
			version, state = t.GetVersion(), t.GetState()
		}
		end := make(<-chan time.Time)
		if ttl := message.GetToken().GetTtl().AsDuration(); ttl > 0 {
			end = time.After(ttl)
		}
		select {
		case <-changed:
		case <-end:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// ReportInvalidToken implements the method of that name.
func (s *service) ReportInvalidToken(
	_ context.Context, req *tokenbrokerv1.ReportInvalidTokenRequest,
) (*tokenbrokerv1.ReportInvalidTokenResponse, error) {
	b, name := s.broker, req.GetName()
	var t *tokenbrokerv1.Token
	var err error
	b.change(func() {
		b.reports[name]++
		if e := b.tokens[name]; b.failure == nil && e != nil {
			if req.GetVersion() > e.version {
				err = status.Errorf(codes.InvalidArgument, "version: %d has never been handed out, the newest is %d", req.GetVersion(), e.version)
				return
			}
			if !e.vouched && (req.GetVersion() == e.version || req.GetAccessToken() != "" && req.GetAccessToken() == e.value) {
				b.rotate(name)
			}
		}
		t, err = b.answer(name)
	})
	if err != nil {
		return nil, err
	}
	return &tokenbrokerv1.ReportInvalidTokenResponse{Token: t}, nil
}

// ListTokens implements the method of that name.
func (s *service) ListTokens(context.Context, *tokenbrokerv1.ListTokensRequest) (*tokenbrokerv1.ListTokensResponse, error) {
	b := s.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure != nil {
		return nil, b.failure
	}
	response := &tokenbrokerv1.ListTokensResponse{}
	for _, name := range slices.Sorted(maps.Keys(b.tokens)) {
		response.Tokens = append(response.Tokens, b.tokens[name].describe(name, false))
	}
	return response, nil
}

// answer returns a token, or why there is none. The caller holds mu.
func (b *Broker) answer(name string) (*tokenbrokerv1.Token, error) {
	if b.failure != nil {
		return nil, b.failure
	}
	e := b.tokens[name]
	if e == nil {
		return nil, unknown(name)
	}
	if t := e.describe(name, true); t.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED {
		return t, nil
	}
	switch {
	case e.version == 0:
		return nil, unavailable("NO_TOKEN_YET", "the token has not been fetched yet")
	case e.dead:
		return nil, unavailable("CONDEMNED", "the token was refused by the upstream before its end")
	default:
		return nil, unavailable("EXPIRED", "the token has expired")
	}
}

// describe says what a replica says of the token.
func (e *entry) describe(name string, withValue bool) *tokenbrokerv1.Token {
	left := time.Until(e.end)
	t := &tokenbrokerv1.Token{
		Name: name, Version: e.version, State: tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED,
		Ttl: durationpb.New(0), RefreshAfter: durationpb.New(retryAfter), Upstream: e.kind, AppId: e.appID,
	}
	if e.version > 0 {
		t.ExpireTime = timestamppb.New(e.end)
	}
	if left <= 0 || e.dead {
		return t
	}
	if withValue {
		t.AccessToken = e.value
	}
	if e.window > 0 {
		left = min(left, e.window)
	}
	if t.State = tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT; !e.suspect {
		t.State, t.Ttl, t.RefreshAfter = tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, durationpb.New(left), durationpb.New(left/2)
	}
	return t
}

func unknown(name string) error {
	return status.Errorf(codes.NotFound, "there is no token %q in the configuration", name)
}

func unavailable(reason, message string) error {
	st, err := status.New(codes.Unavailable, message).WithDetails(
		&errdetails.ErrorInfo{Reason: reason, Domain: "tokenbroker"}, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	if err != nil {
		return err
	}
	return st.Err()
}
