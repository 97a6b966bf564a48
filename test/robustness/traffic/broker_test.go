package traffic_test

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// broker stands for one replica: a connection whose calls are answered on the spot, after a while.
type broker struct {
	takes time.Duration // what an answer takes
	value string
	fail  error // what calls fail with, if not nil

	mu    sync.Mutex
	calls []string // the methods that were called
}

func (b *broker) token(name string) *tokenbrokerv1.Token {
	return &tokenbrokerv1.Token{
		Name: name, AccessToken: b.value, Version: 7, State: tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, Ttl: durationpb.New(8 * time.Second),
		Local: true,
	}
}

func (b *broker) count(method string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, called := range b.calls {
		if called == method {
			n++
		}
	}
	return n
}

func (b *broker) called(method string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, method)
}

// Invoke implements grpc.ClientConnInterface.
func (b *broker) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	b.called(method)
	timer := time.NewTimer(b.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	if b.fail != nil {
		return b.fail
	}
	var answer proto.Message
	switch req := args.(type) {
	case *tokenbrokerv1.GetTokenRequest:
		answer = &tokenbrokerv1.GetTokenResponse{Token: b.token(req.GetName())}
	case *tokenbrokerv1.ReportInvalidTokenRequest:
		answer = &tokenbrokerv1.ReportInvalidTokenResponse{Token: b.token(req.GetName())}
	case *tokenbrokerv1.ListTokensRequest:
		answer = &tokenbrokerv1.ListTokensResponse{Tokens: []*tokenbrokerv1.Token{b.token("stable"), b.token("classic")}}
	case *tokenbrokerv1.GetStatusRequest:
		answer = &tokenbrokerv1.GetStatusResponse{Tokens: []*tokenbrokerv1.TokenStatus{{Name: "stable", Version: 7}}}
	case *tokenbrokerv1.RefreshTokenRequest:
		answer = &tokenbrokerv1.RefreshTokenResponse{Token: b.token(req.GetName())}
	case *tokenbrokerv1.ResignLeadershipRequest:
		answer = &tokenbrokerv1.ResignLeadershipResponse{}
	default:
		return status.Error(codes.Unimplemented, method)
	}
	proto.Merge(reply.(proto.Message), answer)
	return nil
}

// NewStream implements grpc.ClientConnInterface: a stream that says one thing and ends after a while.
func (b *broker) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	b.called(method)
	if b.fail != nil {
		return nil, b.fail
	}
	return &stream{ctx: ctx, broker: b}, nil
}

type stream struct {
	grpc.ClientStream // for the methods that nobody calls

	ctx    context.Context
	broker *broker
	said   bool
}

func (s *stream) SendMsg(any) error { return nil }
func (s *stream) CloseSend() error  { return nil }

func (s *stream) RecvMsg(m any) error {
	if !s.said {
		s.said = true
		proto.Merge(m.(proto.Message), &tokenbrokerv1.WatchTokenResponse{Token: s.broker.token("stable")})
		return nil
	}
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
		return io.EOF
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}
