package gateway

import (
	"context"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/transport"
)

type originKey struct{}

// comingFrom returns a context of calls that are made for somebody.
func comingFrom(ctx context.Context, o access.Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// comingFromClient is comingFrom for a caller who has also shown a client's secret.
func comingFromClient(ctx context.Context, client *Client) context.Context {
	o, _ := ctx.Value(originKey{}).(access.Origin)
	o.Client = client.Name
	return comingFrom(ctx, o)
}

type wrongKey struct{}

// comingWithWrongSecret is comingFrom for a caller who has shown a secret that is no client's.
func comingWithWrongSecret(ctx context.Context) context.Context {
	return context.WithValue(ctx, wrongKey{}, true)
}

// forwarding is a connection that says with each call for whom it is made. A call of which that is not known says nothing, and so is
// refused wherever callers are asked who they are.
type forwarding struct{ grpc.ClientConnInterface }

func (forwarding) told(ctx context.Context) context.Context {
	o, ok := ctx.Value(originKey{}).(access.Origin)
	switch {
	case !ok:
		return ctx
	case ctx.Value(wrongKey{}) != nil:
		return transport.ForwardWrong(ctx, o)
	default:
		return transport.Forward(ctx, o)
	}
}

// Invoke implements grpc.ClientConnInterface.
func (f forwarding) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	return f.ClientConnInterface.Invoke(f.told(ctx), method, args, reply, options...)
}

// NewStream implements grpc.ClientConnInterface.
func (f forwarding) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return f.ClientConnInterface.NewStream(f.told(ctx), desc, method, options...)
}
