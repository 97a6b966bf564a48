package tokenbroker_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

// cluster is several replicas, each behind a network that breaks on demand. All of it is in memory, so that it works in bubbles.
type cluster struct {
	t        *testing.T
	replicas []*tokenbrokertest.Broker
	network  netfault.Network
	fronts   map[string]*bufconn.Listener

	mu    sync.Mutex
	truth map[int64]time.Time // until when each version lives
}

func newCluster(t *testing.T, replicas int) *cluster {
	t.Helper()
	c := &cluster{t: t, fronts: map[string]*bufconn.Listener{}, truth: map[int64]time.Time{}}
	for i := range replicas {
		broker, front := tokenbrokertest.New(t), bufconn.Listen(1<<20)
		proxy := netfault.Serve(front, broker.Dial)
		t.Cleanup(proxy.Close)
		c.replicas, c.network = append(c.replicas, broker), append(c.network, proxy)
		c.fronts[fmt.Sprintf("127.0.0.1:%d", i+1)] = front
	}
	return c
}

// client returns a client of all replicas.
func (c *cluster) client() *tokenbroker.Client {
	c.t.Helper()
	var targets []string
	for i := range c.replicas {
		targets = append(targets, fmt.Sprintf("127.0.0.1:%d", i+1))
	}
	dial := grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return c.fronts[address].DialContext(ctx) })
	client, err := tokenbroker.New(c.t.Context(), strings.Join(targets, ","), tokenbroker.WithDialOptions(dial))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// set gives "shop" a version with this much life, on the replicas given, which had the one before it.
func (c *cluster) set(version int64, ttl time.Duration, replicas ...*tokenbrokertest.Broker) {
	end := time.Now().Add(ttl)
	c.mu.Lock()
	if end.After(c.truth[version]) {
		c.truth[version] = end
	}
	c.mu.Unlock()
	for _, r := range replicas {
		r.Set("shop", fmt.Sprint("value ", version), ttl)
	}
}

// judge fails the test if a token is believed to live for longer than it does.
func (c *cluster) judge(token tokenbroker.Token) {
	c.t.Helper()
	ttl, now := token.TTL(), time.Now()
	c.mu.Lock()
	end := c.truth[token.Version()]
	c.mu.Unlock()
	if ttl > 0 && now.Add(ttl).After(end) {
		c.t.Fatalf("%v is believed to live for %v, but dies in %v", token, ttl, end.Sub(now))
	}
}
