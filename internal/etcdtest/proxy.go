package etcdtest

import (
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

// Direction is the direction of what a Proxy passes on.
type Direction = netfault.Direction

// The directions. Both is their union.
const (
	ToServer = netfault.ToServer
	ToClient = netfault.ToClient
	Both     = netfault.Both
)

// Proxy stands between one client and one member, and breaks their network on demand.
type Proxy struct{ *netfault.Proxy }

// Proxy starts a proxy in front of the member.
func (s *Server) Proxy(tb testing.TB) *Proxy {
	tb.Helper()
	return newProxy(tb, s.Endpoint())
}

func newProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	p, err := netfault.Start(strings.TrimPrefix(target, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return &Proxy{p}
}

// Endpoint returns the URL for clients.
func (p *Proxy) Endpoint() string { return "http://" + p.Address() }

// Client returns a client that reaches the member through the proxy only: see Dial.
func (p *Proxy) Client(tb testing.TB, opts ...grpc.DialOption) *clientv3.Client {
	tb.Helper()
	return Dial(tb, []string{p.Endpoint()}, opts...)
}
