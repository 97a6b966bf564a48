package gateway

import (
	"context"
	"crypto/sha256"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

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

// credentials tell callers apart by all that they bring: a client's name, and the hash of a certificate and of a bearer token.
type credentials struct {
	client string
	others [sha256.Size]byte
}

// credentialsOf returns the credentials of a call that is about to be made for a client.
func credentialsOf(ctx context.Context, client string) credentials {
	h := sha256.New()
	if o, ok := ctx.Value(originKey{}).(access.Origin); ok && o.Certificate != nil {
		h.Write(o.Certificate.Raw)
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	for _, header := range md.Get("authorization") {
		sum := sha256.Sum256([]byte(header))
		h.Write(sum[:])
	}
	return credentials{client, [sha256.Size]byte(h.Sum(nil))}
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
