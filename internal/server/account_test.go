package server_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func TestEveryAnswerTellsWhichApplicationTheTokenIsOf(t *testing.T) {
	w := newWorld(t)
	configured := specs()
	configured[0].Traits.AppID, configured[1].Traits.AppID = "wx1", "wx2"
	if err := w.view.Configure(configured); err != nil {
		t.Fatal(err)
	}
	w.load()
	w.commit(stable, time.Hour)
	list, err := w.server.ListTokens(t.Context(), &tokenbrokerv1.ListTokensRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, token := range list.GetTokens() {
		got[token.GetUpstream()] = token.GetAppId()
	}
	if len(got) != 2 || got["wechat stable"] != "wx1" || got["wechat classic"] != "wx2" {
		t.Errorf("the list tells %v", got)
	}
	answer, err := w.server.GetToken(t.Context(), getRequest(stable, 0))
	if token := answer.GetToken(); err != nil || token.GetUpstream() != "wechat stable" || token.GetAppId() != "wx1" {
		t.Errorf("the answer tells %v of %q, %v", token.GetUpstream(), token.GetAppId(), err)
	}
}

func TestServerServesOnAllItsListenersAndEndsWithThem(t *testing.T) {
	w := newWorld(t)
	w.commit(stable, time.Hour)
	first, second := bufconn.Listen(1<<16), bufconn.Listen(1<<16)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Run(ctx, first, second) }()
	for _, listener := range []*bufconn.Listener{first, second} {
		conn, err := grpc.NewClient("passthrough:///broker", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tokenbrokerv1.NewTokenBrokerServiceClient(conn).GetToken(t.Context(), getRequest(stable, 0)); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
	for _, listener := range []*bufconn.Listener{first, second} {
		if _, err := listener.DialContext(t.Context()); err == nil {
			t.Error("a listener is still open")
		}
	}
}
