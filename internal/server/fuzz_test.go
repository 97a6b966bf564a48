package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// rawCodec sends and takes the bytes of a message as they are.
type rawCodec struct{}

func (rawCodec) Name() string                       { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = slices.Clone(data); return nil }

var _ encoding.Codec = rawCodec{}

// rpc is one method, and what its request and response are.
type rpc struct {
	name              string
	stream            bool
	request, response proto.Message
	hands             bool // its answer may contain the value of the token that it names
}

var allRPCs = []rpc{
	{"/tokenbroker.v1.TokenBrokerService/GetToken", false, &tokenbrokerv1.GetTokenRequest{}, &tokenbrokerv1.GetTokenResponse{}, true},
	{"/tokenbroker.v1.TokenBrokerService/WatchToken", true, &tokenbrokerv1.WatchTokenRequest{}, &tokenbrokerv1.WatchTokenResponse{}, true},
	{"/tokenbroker.v1.TokenBrokerService/ReportInvalidToken", false, &tokenbrokerv1.ReportInvalidTokenRequest{}, &tokenbrokerv1.ReportInvalidTokenResponse{}, true},
	{"/tokenbroker.v1.TokenBrokerService/ListTokens", false, &tokenbrokerv1.ListTokensRequest{}, &tokenbrokerv1.ListTokensResponse{}, false},
	{"/tokenbroker.v1.AdminService/GetStatus", false, &tokenbrokerv1.GetStatusRequest{}, &tokenbrokerv1.GetStatusResponse{}, false},
	{"/tokenbroker.v1.AdminService/RefreshToken", false, &tokenbrokerv1.RefreshTokenRequest{}, &tokenbrokerv1.RefreshTokenResponse{}, false},
	{"/tokenbroker.v1.AdminService/ResignLeadership", false, &tokenbrokerv1.ResignLeadershipRequest{}, &tokenbrokerv1.ResignLeadershipResponse{}, false},
}

// FuzzMessages: whatever bytes arrive as a request, the answer is one that the API knows, soon after the caller gave up at the latest; and
// a value is handed out only to those who named its token.
func FuzzMessages(f *testing.F) {
	for i, m := range []proto.Message{
		&tokenbrokerv1.GetTokenRequest{Name: stable}, &tokenbrokerv1.GetTokenRequest{Name: classic, MinTtl: durationpb.New(time.Hour)},
		&tokenbrokerv1.ReportInvalidTokenRequest{Name: stable, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: 1}},
		&tokenbrokerv1.ReportInvalidTokenRequest{Name: stable, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_AccessToken{AccessToken: "other"}},
		&tokenbrokerv1.RefreshTokenRequest{Name: stable, Force: true}, &tokenbrokerv1.GetTokenRequest{Name: "\xff", MinTtl: &durationpb.Duration{Seconds: 1, Nanos: -1}},
	} {
		data, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
		if err != nil {
			data = []byte{0x0a, 0x01, 0xff}
		}
		f.Add(uint8(i), data)
	}
	f.Add(uint8(6), []byte{})
	f.Add(uint8(1), []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})

	w := newBlankWorld(f, clock.New(), server.Config{})
	w.load()
	w.commit(stable, 1000*time.Hour)
	w.commit(classic, 1000*time.Hour)
	w.leader.replies(token.Reply{Verdict: token.VerdictFailed})
	conn := serve(w).conn

	f.Fuzz(func(t *testing.T, which uint8, request []byte) {
		m := allRPCs[int(which)%len(allRPCs)]
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		response, err := m.call(ctx, conn, request)
		undecodable := proto.Unmarshal(request, proto.Clone(m.request)) != nil
		switch code := status.Code(err); {
		case code == codes.OK && undecodable:
			t.Fatalf("%s took %x", m.name, request)
		case code == codes.Internal && !undecodable, code == codes.Unknown, code == codes.Unimplemented:
			t.Fatalf("%s %x: %v", m.name, request, err)
		case strings.Contains(fmt.Sprint(err), "SECRET"):
			t.Fatalf("%s %x: the error shows a token: %v", m.name, request, err)
		}
		if err != nil {
			return
		}
		if err := proto.Unmarshal(response, proto.Clone(m.response)); err != nil {
			t.Fatalf("%s %x: the answer is no %T: %v", m.name, request, m.response, err)
		}
		for _, name := range []string{stable, classic} {
			if strings.Contains(string(response), "SECRET-"+name) && !(m.hands && strings.Contains(string(request), name)) {
				t.Fatalf("%s %x: a token that was not asked for: %x", m.name, request, response)
			}
		}
	})
	if log := w.log.String(); strings.Contains(log, "SECRET") || strings.Contains(log, "panic") {
		f.Errorf("the log shows a token or a panic:\n%s", log)
	}
}

// call returns the answer, or the first message of a stream.
func (m rpc) call(ctx context.Context, conn *grpc.ClientConn, request []byte) (response []byte, err error) {
	if !m.stream {
		err = conn.Invoke(ctx, m.name, &request, &response, grpc.ForceCodec(rawCodec{}))
		return response, err
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.name, grpc.ForceCodec(rawCodec{}))
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(&request); err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	err = stream.RecvMsg(&response)
	return response, err
}
