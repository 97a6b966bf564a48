package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// The kinds of server.
const (
	rolePlain  = "plain"  // the empty handler on gRPC's defaults
	roleEmpty  = "empty"  // the empty handler on the broker's options
	roleBroker = "broker" // the broker
)

// tokenName is the token that the client asks for, one of several.
const tokenName = "shop.stable"

// usage is what a server has used so far.
type usage struct {
	CPU    time.Duration
	Allocs uint64
}

// serve is the whole life of a server process: it prints its address, answers each line of its standard input with its usage, and
// ends with that input.
func serve(ctx context.Context, role string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	broker, err := newBroker()
	if err != nil {
		return err
	}
	switch role {
	case roleBroker:
		group.Go(func() error { return broker.server.Run(ctx, listener) })
		group.Go(func() error { return broker.prove(ctx) })
	case roleEmpty:
		err = serveEmpty(ctx, group, listener, broker, server.Options(0)...)
	case rolePlain:
		err = serveEmpty(ctx, group, listener, broker)
	default:
		err = fmt.Errorf("no server is called %q", role)
	}
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	err = tell()
	stop()
	if failed := group.Wait(); failed != nil {
		return failed
	}
	return err
}

// serveEmpty has the group serve the broker's answer of this moment for ever.
func serveEmpty(ctx context.Context, group *errgroup.Group, listener net.Listener, b *broker, options ...grpc.ServerOption) error {
	answer, err := b.server.GetToken(ctx, &tokenbrokerv1.GetTokenRequest{Name: tokenName})
	if err != nil {
		return err
	}
	g := grpc.NewServer(options...)
	tokenbrokerv1.RegisterTokenBrokerServiceServer(g, &empty{answer: answer})
	group.Go(func() error { return g.Serve(listener) })
	context.AfterFunc(ctx, g.Stop)
	return nil
}

// tell answers each line of standard input with the usage so far.
func tell() error {
	out := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var spent syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &spent); err != nil {
			return err
		}
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		cpu := time.Duration(spent.Utime.Nano() + spent.Stime.Nano())
		if err := out.Encode(usage{CPU: cpu, Allocs: memory.Mallocs}); err != nil {
			return err
		}
	}
	return nil
}

// empty returns an answer that was built beforehand.
type empty struct {
	tokenbrokerv1.UnimplementedTokenBrokerServiceServer
	answer *tokenbrokerv1.GetTokenResponse
}

// GetToken implements the method of that name.
func (e *empty) GetToken(context.Context, *tokenbrokerv1.GetTokenRequest) (*tokenbrokerv1.GetTokenResponse, error) {
	return e.answer, nil
}

// broker is a replica as production has it, but for what feeds its view.
type broker struct {
	server *server.Server
	view   *view.View
	clock  *clock.Clock
}

func newBroker() (*broker, error) {
	clk := clock.New()
	v := view.New(view.Config{Clock: clk})
	names := []string{tokenName, "shop.classic", "app.one", "app.two", "app.three"}
	var specs []view.Spec
	var records []view.Change
	for _, name := range names {
		specs = append(specs, view.Spec{Name: name, Traits: token.Traits{Kind: "wechat stable", MaxLife: 2 * time.Hour}})
		records = append(records, view.Change{Name: name, Record: token.Record{
			Version: 17, Value: token.NewSecret(strings.Repeat("x", 157)), // as long as WeChat's
			IssuedAt: clk.Wall(), Life: 2 * time.Hour,
		}})
	}
	if err := v.Configure(specs); err != nil {
		return nil, err
	}
	v.Load(0, 1, 1, records)
	s := server.New(server.Config{ReplicaID: "bench"}, v, nobody{}, nobody{}, nobody{})
	registry := prometheus.NewRegistry()
	registry.MustRegister(s, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &broker{server: s, view: v, clock: clk}, nil
}

// prove renews the proof of freshness each second, as the store does.
func (b *broker) prove(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.clock.Follow()
			b.view.Synced(b.clock.Read(), 1)
		case <-ctx.Done():
			return nil
		}
	}
}

// nobody stands for the rest of the cluster, of which no GetToken of an active token wants to know.
type nobody struct{}

func (nobody) Ask(ctx context.Context, _ token.Request) (token.Reply, error) {
	return token.Reply{}, context.Cause(ctx)
}
func (nobody) Election() server.Election { return server.Election{} }

// Leading implements server.Cluster.
func (nobody) Leading() int64                             { return 0 }
func (nobody) Changed() <-chan struct{}                   { return nil }
func (nobody) Plan(string, *server.Candidate) server.Plan { return server.Plan{} }
