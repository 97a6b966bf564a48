// Package tokenbrokertest is a broker inside of a test: real gRPC, with tokens that the test sets, rotates and ends as it likes.
//
//	broker := tokenbrokertest.New(t)
//	broker.Set("shop", "token-1", time.Hour)
//	client := broker.Client()
//
// It answers as a replica does that holds these tokens, for calls and for streams. A report of the current version makes it rotate the
// token, unless Vouch was called for it. Nothing touches the network before Listen is called, so a Broker can live in a bubble of
// testing/synctest, where hours of a token's life pass in no time.
package tokenbrokertest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// pipeSize is how many bytes may be under way to or from a client in memory.
const pipeSize = 1 << 20

// Broker is a broker of one replica. It is safe for concurrent use.
type Broker struct {
	server  *grpc.Server
	pipe    *bufconn.Listener
	serving sync.WaitGroup

	mu      sync.Mutex
	clients []*tokenbroker.Client
	tokens  map[string]*entry
	calls   map[string]int
	reports map[string]int
	failure error
	changed chan struct{} // closed and replaced at each change
}

// entry is one configured token.
type entry struct {
	value   string
	version int64
	ttl     time.Duration
	end     time.Time
	window  time.Duration // the longest promise; 0 for any
	kind    string        // of the upstream
	appID   string
	suspect bool
	dead    bool // condemned
	vouched bool
}

// New starts a broker without tokens, which is gone when the test ends.
func New(tb testing.TB) *Broker {
	tb.Helper()
	b := Start()
	tb.Cleanup(b.Close)
	return b
}

// Start is New where there is no testing.TB. Call Close in the end.
func Start() *Broker {
	b := &Broker{
		// Of keep-alive a broker tolerates as much.
		server: grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true})),
		pipe:   bufconn.Listen(pipeSize),
		tokens: map[string]*entry{}, calls: map[string]int{}, reports: map[string]int{}, changed: make(chan struct{}),
	}
	tokenbrokerv1.RegisterTokenBrokerServiceServer(b.server, &service{broker: b})
	status := health.NewServer()
	status.SetServingStatus(tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(b.server, status)
	b.serve(b.pipe)
	return b
}

// Close closes all clients that Client returned, ends the broker, and returns when nothing of them runs.
func (b *Broker) Close() {
	b.mu.Lock()
	clients := b.clients
	b.mu.Unlock()
	for _, c := range clients {
		_ = c.Close() // never fails
	}
	b.server.Stop()
	b.serving.Wait()
}

// serve serves on a listener until Close.
func (b *Broker) serve(listener net.Listener) {
	b.serving.Go(func() { _ = b.server.Serve(listener) }) // an error of a listener is seen by its clients
}

// Client returns a client of this broker, which Close closes. It panics where tokenbroker.New fails.
func (b *Broker) Client(options ...tokenbroker.Option) *tokenbroker.Client {
	client, err := tokenbroker.New(context.Background(), "passthrough:///tokenbrokertest", append(b.Options(), options...)...)
	if err != nil {
		panic(fmt.Sprintf("tokenbrokertest: creating a client: %v", err))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients = append(b.clients, client)
	return client
}

// Options are what leads a client of any target to this broker, for code under test that makes its client itself.
func (b *Broker) Options() []tokenbroker.Option {
	return []tokenbroker.Option{
		tokenbroker.WithInsecure(),
		tokenbroker.WithDialOptions(grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return b.Dial(ctx) })),
	}
}

// Dial connects to the broker.
func (b *Broker) Dial(ctx context.Context) (net.Conn, error) { return b.pipe.DialContext(ctx) }

// Listen serves on a free loopback port as well, and returns its host:port. It panics if there is none.
func (b *Broker) Listen() string {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("tokenbrokertest: %v", err))
	}
	b.serve(listener)
	return listener.Addr().String()
}

// Set makes this the value of a token, under the next version if it is another one than before, with this much life from now on. A name
// that was not known is from now on.
func (b *Broker) Set(name, value string, ttl time.Duration) {
	b.change(func() {
		e := b.entry(name)
		if e.value != value {
			e.version++
		}
		e.set(value, ttl)
	})
}

// Rotate gives a token a new value, which it makes up, and as much life as it had at first. It returns the value.
func (b *Broker) Rotate(name string) (value string) {
	b.change(func() { value = b.rotate(name) })
	return value
}

// rotate is Rotate. The caller holds mu.
func (b *Broker) rotate(name string) string {
	e := b.entry(name)
	e.version++
	if e.ttl == 0 {
		e.ttl = 2 * time.Hour
	}
	e.set(fmt.Sprintf("%s-version-%d", name, e.version), e.ttl)
	return e.value
}

// Expire ends a token's life. There is no token until Set or Rotate.
func (b *Broker) Expire(name string) { b.change(func() { b.entry(name).end = time.Now() }) }

// Condemn is Expire for a token whose death before its time the upstream has confirmed.
func (b *Broker) Condemn(name string) { b.change(func() { b.entry(name).dead = true }) }

// Suspect has the broker promise nothing of a token any more, until Set or Rotate.
func (b *Broker) Suspect(name string) { b.change(func() { b.entry(name).suspect = true }) }

// Window has the broker promise no more than this much of a token's life at a time, as it does for tokens that a fetch rotates away.
func (b *Broker) Window(name string, longest time.Duration) {
	b.change(func() { b.entry(name).window = longest })
}

// Issuer has the broker say of a token, from now on, which upstream it is from, such as "wechat stable", and of which application there.
func (b *Broker) Issuer(name, upstream, appID string) {
	b.change(func() { e := b.entry(name); e.kind, e.appID = upstream, appID })
}

// Vouch has the broker say of the present version of a token, when it is reported, that it lives.
func (b *Broker) Vouch(name string) { b.change(func() { b.entry(name).vouched = true }) }

// Remove takes a token out of the configuration.
func (b *Broker) Remove(name string) { b.change(func() { delete(b.tokens, name) }) }

// Fail has every call fail with this error, and every open stream end with it; nil ends that. Make it with status.Error.
func (b *Broker) Fail(err error) { b.change(func() { b.failure = err }) }

// Calls returns how often GetToken was called for a name.
func (b *Broker) Calls(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[name]
}

// Reports returns how often ReportInvalidToken was called for a name.
func (b *Broker) Reports(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reports[name]
}

func (b *Broker) change(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

// entry returns the token of that name. If there is none it adds one without a value. The caller holds mu.
func (b *Broker) entry(name string) *entry {
	if b.tokens[name] == nil {
		b.tokens[name] = &entry{}
	}
	return b.tokens[name]
}

func (e *entry) set(value string, ttl time.Duration) {
	*e = entry{value: value, version: e.version, ttl: ttl, end: time.Now().Add(ttl), window: e.window, kind: e.kind, appID: e.appID}
}
