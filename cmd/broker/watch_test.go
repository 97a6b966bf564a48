package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func TestWatchFollowsTheTokenAcrossBrokenStreams(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var mu sync.Mutex
	streams := 0
	b := &fakeBroker{watch: func(s tokenbrokerv1.TokenBrokerService_WatchTokenServer) error {
		mu.Lock()
		streams++
		n := streams
		mu.Unlock()
		tok := shopToken()
		if n == 1 {
			if err := s.Send(&tokenbrokerv1.WatchTokenResponse{Token: tok}); err != nil {
				return err
			}
			return status.Error(codes.Unavailable, "the replica is leaving")
		}
		tok.Version, tok.State, tok.AccessToken = 18, tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED, ""
		if err := s.Send(&tokenbrokerv1.WatchTokenResponse{Token: tok}); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	}}
	address := b.start(t)
	in, out := io.Pipe()
	shown := make(chan string)
	go func() {
		var all strings.Builder
		buf := make([]byte, 4096)
		for {
			n, err := in.Read(buf)
			all.Write(buf[:n])
			if strings.Contains(all.String(), "expired") {
				interrupt()
			}
			if err != nil {
				shown <- all.String()
				return
			}
		}
	}()
	var errs bytes.Buffer
	code := run(ctx, []string{"watch", "shop"}, console{
		in: strings.NewReader(""), out: out, err: &errs, env: fakeEnvironment(map[string]string{serverVariable: address}),
		now: func() time.Time { return noon },
	})
	out.Close()
	golden(t, "watch", strings.ReplaceAll(<-shown+"--- standard error\n"+errs.String()+fmt.Sprintf("--- exit code %d\n", code), address, "ADDRESS"))
}

func TestWatchWritesForProgramsToo(t *testing.T) {
	b := &fakeBroker{watch: func(s tokenbrokerv1.TokenBrokerService_WatchTokenServer) error {
		gone := shopToken()
		gone.AccessToken, gone.State, gone.Ttl = "", tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED, nil
		for _, tok := range []*tokenbrokerv1.Token{shopToken(), gone} {
			if err := s.Send(&tokenbrokerv1.WatchTokenResponse{Token: tok}); err != nil {
				return err
			}
		}
		return status.Error(codes.NotFound, "the token was taken out of the configuration")
	}}
	address := b.start(t)
	for _, output := range []string{asJSON, asValue} {
		golden(t, "watch-"+output, command(t.Context(), address, "", "watch", "shop", "-o", output))
	}
}

func TestWatchEndsWhenTheTokenIsUnknown(t *testing.T) {
	b := &fakeBroker{watch: func(tokenbrokerv1.TokenBrokerService_WatchTokenServer) error {
		return status.Error(codes.NotFound, "there is no token of that name")
	}}
	golden(t, "watch-unknown", command(t.Context(), b.start(t), "", "watch", "shop"))
}
