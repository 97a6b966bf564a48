package gateway

import (
	"context"
	"net/netip"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/crowd"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// maxWaits is how many calls that may wait for long are under way at once. With maxWatches it leaves a quarter of what the connection has
	// room for to the others.
	maxWaits = 256
	// maxWaitsOfOne is how many of them are of one address. So there is always room for others.
	maxWaitsOfOne = maxWaits / 4 * 3
)

// orderly is a connection on which whoever asks for a token that is held does not stand in line behind those who wait for another one, however
// many they are; and whoever waits does not stand in line behind all those of one address.
type orderly struct {
	grpc.ClientConnInterface
	waits chan struct{} // has one element for each call that may wait for long

	mu    sync.Mutex
	lines map[netip.Prefix]*line // nothing is kept of addresses of which nobody waits
}

// line is where those of one address wait. room has one element for each who has left it for a place among all.
type line struct {
	room  chan struct{}
	users int
}

func newOrderly(conn grpc.ClientConnInterface) *orderly {
	return &orderly{ClientConnInterface: conn, waits: make(chan struct{}, maxWaits), lines: map[netip.Prefix]*line{}}
}

// Invoke implements grpc.ClientConnInterface. A call that may wait for long is made when there is room for it, within the time of ctx.
func (o *orderly) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	if mayWait(args) {
		own, leave := o.join(ctx)
		defer leave()
		if err := place(ctx, own); err != nil {
			return err
		}
		defer func() { <-own }()
		if err := place(ctx, o.waits); err != nil {
			return err
		}
		defer func() { <-o.waits }()
	}
	return o.ClientConnInterface.Invoke(ctx, method, args, reply, options...)
}

// place waits for a place in a room. Whoever leaves takes an element out.
func place(ctx context.Context, room chan<- struct{}) error {
	select {
	case room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// join returns the room of those of the caller's address, until leave is called.
func (o *orderly) join(ctx context.Context) (room chan struct{}, leave func()) {
	from, _ := ctx.Value(originKey{}).(access.Origin)
	address := crowd.Neighborhood(from.Peer)
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lines[address]
	if l == nil {
		l = &line{room: make(chan struct{}, maxWaitsOfOne)}
		o.lines[address] = l
	}
	l.users++
	return l.room, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(o.lines, address)
		}
	}
}

// mayWait reports whether a call may wait for a new token. Without a min_ttl GetToken waits for a moment at most.
func mayWait(request any) bool {
	switch r := request.(type) {
	case *tokenbrokerv1.GetTokenRequest:
		return r.GetMinTtl() != nil
	case *tokenbrokerv1.ReportInvalidTokenRequest:
		return true
	default:
		return false
	}
}
