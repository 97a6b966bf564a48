package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// demoTokens are the names of the demonstration's tokens.
var demoTokens = []string{"demo-stable", "demo-classic"}

// await blocks until every replica hands out every token. It asks as any caller would: what it prints afterwards works.
func (s *scene) await(ctx context.Context) error {
	for _, m := range s.members {
		conn, err := dial([]string{m.grpc.Addr().String()}, callerConfig)
		if err != nil {
			return err
		}
		err = awaitTokens(ctx, tokenbrokerv1.NewTokenBrokerServiceClient(conn))
		_ = conn.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitTokens asks with a min_ttl, since such calls wait for as long as it takes.
func awaitTokens(ctx context.Context, broker tokenbrokerv1.TokenBrokerServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, name := range demoTokens {
		req := &tokenbrokerv1.GetTokenRequest{Name: name, MinTtl: durationpb.New(time.Millisecond)}
		if _, err := broker.GetToken(ctx, req, grpc.WaitForReady(true)); err != nil {
			return fmt.Errorf("waiting for the first tokens: %w", err)
		}
	}
	return nil
}

// announce says what there is, and what to try.
func (s *scene) announce(w io.Writer, took time.Duration) {
	var replicas strings.Builder
	for i, m := range s.members {
		fmt.Fprintf(&replicas, "  dev-%d             gRPC %s   HTTP http://%s   metrics http://%s\n", i+1, m.grpc.Addr(), m.gateway.Addr(), m.http.Addr())
	}
	first := s.members[0]
	broker, at := os.Args[0], ""
	if address := first.grpc.Addr().String(); address != defaultServer {
		at = " --server " + address
	}
	fmt.Fprintf(w, `
=== NOT FOR PRODUCTION: WeChat is simulated, everything is forgotten at the end,
=== nothing is encrypted (plaintext, on loopback), and every program on this machine can have the tokens.

Ready after %.1fs. Tokens live %s.

%s  etcd              %s
  simulated WeChat  %s

Try in another shell:

  %[6]s get demo-stable%[7]s
  %[6]s watch demo-classic%[7]s
  %[6]s status%[7]s
  %[6]s resign%[7]s
  grpcurl -plaintext -d '{"name":"demo-stable"}' %[8]s tokenbroker.v1.TokenBrokerService/GetToken
  curl http://%[11]s/v1/tokens/demo-stable
  curl -N http://%[11]s/v1/tokens/demo-stable:watch
  curl 'http://%[11]s/cgi-bin/token?grant_type=client_credential&appid=%[12]s&secret=%[13]s'
  curl -s http://%[9]s/metrics | grep ^tokenbroker_
  etcdctl --endpoints %[4]s elect -l %[10]selection
  curl -s -d '{"endpoint":"token","kind":"drop","when":"after","times":1}' %[5]s/_sim/fault

Ctrl-C ends it.

`, took.Seconds(), short(s.life), replicas.String(), s.etcd, s.wechat, broker, at, first.grpc.Addr(), first.http.Addr(), defaultNamespace, first.gateway.Addr(),
		demoAppID, s.secret)
}
