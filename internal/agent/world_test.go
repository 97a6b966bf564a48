package agent_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
	"github.com/tokenbroker/tokenbroker/internal/agent"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/netfault"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a broker, an agent before it, and the network in between, all of it in memory: it works in bubbles of synctest.
type world struct {
	t       *testing.T
	broker  *tokenbrokertest.Broker
	network *netfault.Proxy
	front   *bufconn.Listener // to the network
	api     tokenbrokerv1.TokenBrokerServiceClient
	conn    *grpc.ClientConn
	web     *http.Client
	log     *logtest.Buffer

	stop  func() // ends the agent, and waits
	ended error
}

// inWorld runs a test in a bubble.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, broker: tokenbrokertest.New(t), front: bufconn.Listen(1 << 20), log: new(logtest.Buffer)}
		w.network = netfault.Serve(w.front, w.broker.Dial)
		t.Cleanup(w.network.Close)
		test(t, w)
	})
}

// start starts an agent with what the test adds to its configuration.
func (w *world) start(change ...func(*agent.Config)) {
	w.t.Helper()
	calls, requests := bufconn.Listen(1<<20), bufconn.Listen(1<<20)
	cfg := agent.Config{
		Target: "passthrough:///brokers", GRPC: calls, HTTP: requests, Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Options: []tokenbroker.Option{tokenbroker.WithInsecure(), tokenbroker.WithDialOptions(
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.front.DialContext(ctx) }))},
	}
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.ended = agent.Run(ctx, cfg) })
	w.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	w.t.Cleanup(w.stop)

	conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return calls.DialContext(ctx) }))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	w.conn, w.api = conn, tokenbrokerv1.NewTokenBrokerServiceClient(conn)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return requests.DialContext(ctx) }}
	w.t.Cleanup(transport.CloseIdleConnections)
	w.web = &http.Client{Transport: transport}
}

// get asks the agent for the token "shop", with a deadline of 5 s.
func (w *world) get(least time.Duration) (*tokenbrokerv1.Token, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	req := &tokenbrokerv1.GetTokenRequest{Name: "shop"}
	if least > 0 {
		req.MinTtl = durationpb.New(least)
	}
	answer, err := w.api.GetToken(ctx, req)
	return answer.GetToken(), err
}

// must is get where there has to be a token.
func (w *world) must() *tokenbrokerv1.Token {
	w.t.Helper()
	got, err := w.get(0)
	if err != nil {
		w.t.Fatalf("no token: %v", err)
	}
	return got
}

// page gets a page of the agent.
func (w *world) page(path string) (int, string) {
	w.t.Helper()
	resp, err := w.web.Get("http://agent" + path) //nolint:noctx // in a bubble
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// refusal describes an error: its code, the reason if there is one, and whether it says when to come back.
func refusal(err error) string {
	st := status.Convert(err)
	text := st.Code().String()
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			text += " " + d.GetDomain() + "/" + d.GetReason()
		case *errdetails.RetryInfo:
			if d.GetRetryDelay().AsDuration() > 0 {
				text += " with a time"
			}
		}
	}
	return text
}

// expect fails the test unless an error is the given one, in the words of refusal.
func expect(t *testing.T, what string, err error, want string) {
	t.Helper()
	if got := refusal(err); got != want {
		t.Errorf("%s: %s, want %s (%v)", what, got, want, err)
	}
}

func value(version int64) string { return fmt.Sprintf("the-secret-value-%d", version) }
