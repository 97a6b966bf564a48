package agent_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/internal/agent"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// teller is a broker that says of one token what it is told to say.
type teller struct {
	tokenbrokerv1.UnimplementedTokenBrokerServiceServer

	mu      sync.Mutex
	token   *tokenbrokerv1.Token
	changed chan struct{}
}

func (b *teller) say(t *tokenbrokerv1.Token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.token = t
	if b.changed != nil {
		close(b.changed)
	}
	b.changed = make(chan struct{})
}

func (b *teller) said() (*tokenbrokerv1.Token, chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.token, b.changed
}

func (b *teller) GetToken(context.Context, *tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
	t, _ := b.said()
	return &tokenbrokerv1.GetTokenResponse{Token: t}, nil
}

func (b *teller) WatchToken(_ *tokenbrokerv1.WatchTokenRequest, stream grpc.ServerStreamingServer[tokenbrokerv1.WatchTokenResponse]) error {
	for {
		t, changed := b.said()
		if err := stream.Send(&tokenbrokerv1.WatchTokenResponse{Token: t}); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (b *teller) ListTokens(context.Context, *tokenbrokerv1.ListTokensRequest) (*tokenbrokerv1.ListTokensResponse, error) {
	t, _ := b.said()
	listed := proto.CloneOf(t)
	listed.AccessToken = ""
	return &tokenbrokerv1.ListTokensResponse{Tokens: []*tokenbrokerv1.Token{listed}}, nil
}

// of is a version of "shop" that is a token of an application.
func of(version int64, appID string, state tokenbrokerv1.TokenState) *tokenbrokerv1.Token {
	t := &tokenbrokerv1.Token{
		Name: "shop", AccessToken: value(version), Version: version, State: state, AppId: appID, Upstream: "wechat stable",
		Ttl: durationpb.New(0), RefreshAfter: durationpb.New(time.Second), ExpireTime: timestamppb.New(time.Now().Add(time.Hour)),
	}
	if state == tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
		t.Ttl = durationpb.New(time.Hour)
	}
	return t
}

// A name may be configured for another application. While the agent holds on to the living token of the former, it must not take it for one
// of the latter, nor give it to whoever asks for that.
func TestATokenIsOfTheApplicationThatItWasIssuedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, broker, pipe := &world{t: t, log: new(logtest.Buffer)}, &teller{}, bufconn.Listen(1<<20)
		server, serving := grpc.NewServer(), health.NewServer()
		serving.SetServingStatus(tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
		grpc_health_v1.RegisterHealthServer(server, serving)
		tokenbrokerv1.RegisterTokenBrokerServiceServer(server, broker)
		go func() { _ = server.Serve(pipe) }()
		t.Cleanup(server.Stop)
		broker.say(of(1, "wx-former", tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE))
		w.start(func(cfg *agent.Config) {
			cfg.Options = append(cfg.Options, tokenbroker.WithDialOptions(
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) })))
		})
		stable := func(appid string) string {
			resp, err := w.web.Post("http://agent/cgi-bin/stable_token", "application/json", //nolint:noctx // in a bubble
				strings.NewReader(`{"grant_type":"client_credential","appid":"`+appid+`","secret":"agent"}`))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body := make([]byte, 1024)
			n, _ := resp.Body.Read(body)
			return string(body[:n])
		}
		if got := w.must(); got.GetAppId() != "wx-former" || got.GetUpstream() != "wechat stable" {
			t.Errorf("got %v", got)
		}
		if got := stable("wx-former"); !strings.Contains(got, value(1)) {
			t.Errorf("the application's own request: %s", got)
		}
		broker.say(of(2, "wx-latter", tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT)) // nothing to give up a living token for
		time.Sleep(10 * time.Second)
		if got := w.must(); got.GetVersion() != 1 || got.GetAppId() != "wx-former" {
			t.Errorf("got %v", got)
		}
		if got := stable("wx-latter"); strings.Contains(got, value(1)) {
			t.Errorf("another application's request: %s", got)
		}
		broker.say(of(2, "wx-latter", tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE))
		time.Sleep(10 * time.Second)
		if got := w.must(); got.GetVersion() != 2 || got.GetAppId() != "wx-latter" {
			t.Errorf("got %v", got)
		}
		if got := stable("wx-latter"); !strings.Contains(got, value(2)) {
			t.Errorf("in the end: %s", got)
		}
	})
}
