package guard_test

import (
	"context"
	"crypto/sha256"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/audit"
	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/guard"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/transport"
	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// shopBearer is the bearer token of token:shop in all that follows.
const shopBearer = "tb-0123456789abcdef0123456789abcdef"

// replica is a server with one token, "shop", whose guard is real in all its parts.
type replica struct {
	tb       testing.TB
	server   *server.Server
	view     *view.View
	clock    *clock.Clock
	revision int64
}

// newReplica returns a replica without a guard if with is nil.
func newReplica(tb testing.TB, with *guard.Guard) *replica {
	tb.Helper()
	r := &replica{tb: tb, clock: clock.New()}
	r.view = view.New(view.Config{Clock: r.clock})
	if err := r.view.Configure([]view.Spec{{Name: "shop", Traits: token.Traits{Kind: "wechat stable", MaxLife: 2 * time.Hour, Calendar: time.UTC}}}); err != nil {
		tb.Fatal(err)
	}
	cfg := server.Config{ReplicaID: "a"}
	if with != nil {
		cfg.Guard = with
	}
	r.server = server.New(cfg, r.view, nil, nil, nil)
	sent := r.clock.Read()
	r.view.Load(0, 1, 1, nil)
	r.view.Synced(sent, 1)
	r.revision = 1
	r.commit("SECRET")
	return r
}

// commit writes the next version.
func (r *replica) commit(value string) {
	r.revision++
	r.view.Apply(r.revision, r.revision, []view.Change{{Name: "shop", Record: token.Record{
		Version: r.revision, Value: token.NewSecret(value), IssuedAt: r.clock.Wall(), Life: time.Hour,
	}}})
}

// realGuard is one as configurations make it.
func realGuard(tb testing.TB, limits guard.Limits, log guard.Recorder) *guard.Guard {
	tb.Helper()
	authenticator, err := access.NewAuthenticator(access.Config{Tokens: []access.StaticToken{{Name: "shop", SHA256: sha256.Sum256([]byte(shopBearer))}}})
	if err != nil {
		tb.Fatal(err)
	}
	policy, err := access.NewPolicy([]access.Rule{{Where: "policy[0]", Identities: []string{"token:shop"}, Tokens: []string{"sho*"}, Verbs: access.Verbs}})
	if err != nil {
		tb.Fatal(err)
	}
	return guard.New(guard.Config{Origin: transport.OriginOf, Audit: log}, guard.Rules{Authenticator: authenticator, Policy: policy, Limits: limits})
}

// realLog is an audit log in a file, which is written until the test ends.
func realLog(tb testing.TB) (*audit.Log, string) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "audit.log")
	log := audit.New(audit.Config{File: file, Replica: "a", Refuse: true, Patience: time.Minute})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := log.Run(ctx); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() { stop(); running.Wait() })
	return log, file
}

// serve runs the replica on loopback, and returns a connection to it.
func (r *replica) serve() *grpc.ClientConn {
	r.tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.tb.Fatal(err)
	}
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithStaticStreamWindowSize(1<<16), grpc.WithStaticConnWindowSize(1<<24)) // small for each stream, and never growing
	if err != nil {
		r.tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.server.Run(ctx, listener); err != nil {
			r.tb.Error(err)
		}
	})
	r.tb.Cleanup(func() { _ = conn.Close(); stop(); running.Wait() })
	return conn
}

func asShop(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+shopBearer)
}

func TestCallsOfARealServerAreGuardedAndRecorded(t *testing.T) {
	log, file := realLog(t)
	client := tokenbrokerv1.NewTokenBrokerServiceClient(newReplica(t, realGuard(t, ample, log)).serve())
	if a, err := client.GetToken(asShop(t.Context()), &tokenbrokerv1.GetTokenRequest{Name: "shop"}); err != nil || a.GetToken().GetAccessToken() != "SECRET" {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"shop", "wallet"} {
		if _, err := client.GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: name}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("without credentials: %v", err)
		}
	}
	bad := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic abc")
	if _, err := client.GetToken(bad, &tokenbrokerv1.GetTokenRequest{Name: "shop"}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("with something else: %v", err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], `"who":["token:shop"]`) || !strings.Contains(lines[0], `"version":2`) || !strings.Contains(lines[1], `"who":["anonymous"]`) ||
		!strings.Contains(lines[3], `"who":[]`) || strings.Count(string(data), `"peer":"127.0.0.1:`) != 4 {
		t.Errorf("recorded:\n%s", data)
	}
	if strings.Contains(string(data), "SECRET") || strings.Contains(string(data), shopBearer) {
		t.Error("the audit log has a secret")
	}
}

func TestWatcherWhoNeverReadsCostsBoundedMemoryAndNoMoreThanItsStreams(t *testing.T) {
	const streams, versions = 50, 1500
	log, file := realLog(t)
	limits := ample
	limits.Streams = streams
	r := newReplica(t, realGuard(t, limits, log))
	client := tokenbrokerv1.NewTokenBrokerServiceClient(r.serve())
	for range streams {
		stream, err := client.WatchToken(asShop(t.Context()), &tokenbrokerv1.WatchTokenRequest{Name: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	one, err := client.WatchToken(asShop(t.Context()), &tokenbrokerv1.WatchTokenRequest{Name: "shop"})
	if err == nil {
		_, err = one.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one stream more got %v", err)
	}
	held := func() int64 {
		runtime.GC()
		runtime.GC() // what pools keep outlives one
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	// gRPC keeps messages in buffers of 4 KB, or of 16 KB: with a few bytes more, each would cost four times what it is.
	big := strings.Repeat("x", token.MaxValueSize-512)
	for range versions { // 270 MB for those who read
		r.commit(big)
		runtime.Gosched()
	}
	if _, err := client.GetToken(asShop(t.Context()), &tokenbrokerv1.GetTokenRequest{Name: "shop"}); err != nil {
		t.Errorf("who asks meanwhile gets %v", err)
	}
	grown := held() - before
	t.Logf("%d streams that nobody reads cost %d KB each, both ends together", streams, grown/streams>>10)
	if grown > streams*(512<<10) {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() > streams*versions*100 {
		t.Errorf("the audit log has %d bytes, %v", info.Size(), err)
	}
}

// incoming is the context of a call as gRPC makes it.
func incoming(ctx context.Context) context.Context {
	ctx = peer.NewContext(ctx, &peer.Peer{
		Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 4711}, LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 7700},
	})
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+shopBearer, "user-agent", "test", ":authority", "broker"))
}

type handlers map[string]grpc.MethodHandler

func (h handlers) RegisterService(desc *grpc.ServiceDesc, _ any) {
	for _, m := range desc.Methods {
		h[m.MethodName] = m.Handler
	}
}

// getter returns a call of GetToken as gRPC makes it, without the wire.
func (r *replica) getter(ctx context.Context) func() {
	all := handlers{}
	r.server.Register(all)
	decode := func(m any) error { m.(*tokenbrokerv1.GetTokenRequest).Name = "shop"; return nil }
	return func() {
		if _, err := all["GetToken"](r.server, ctx, decode, nil); err != nil {
			r.tb.Fatal(err)
		}
	}
}

func TestGuardingACallCostsAFewAllocations(t *testing.T) {
	ctx := incoming(t.Context())
	open := testing.AllocsPerRun(500, newReplica(t, nil).getter(ctx))
	guarded := testing.AllocsPerRun(500, newReplica(t, realGuard(t, ample, nil)).getter(ctx))
	log, _ := realLog(t)
	recorded := testing.AllocsPerRun(500, newReplica(t, realGuard(t, ample, log)).getter(ctx))
	t.Logf("%v open, %v guarded, %v recorded", open, guarded, recorded)
	if open > 2 || guarded > 14 || recorded > 26 {
		t.Errorf("%v open, %v guarded, %v recorded", open, guarded, recorded)
	}
}

// BenchmarkGetToken is the handler without the wire. test/bench has whole calls.
func BenchmarkGetToken(b *testing.B) {
	ctx := incoming(b.Context())
	log, _ := realLog(b)
	for _, how := range []struct {
		name  string
		guard *guard.Guard
	}{{"open", nil}, {"guarded", realGuard(b, ample, nil)}, {"recorded", realGuard(b, ample, log)}} {
		b.Run(how.name, func(b *testing.B) {
			get := newReplica(b, how.guard).getter(ctx)
			b.ReportAllocs()
			for b.Loop() {
				get()
			}
		})
	}
}
