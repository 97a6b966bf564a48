package gateway

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// maxWaits is how many calls that may wait for long are under way at once. With maxWatches it leaves a quarter of what the connection has
// room for to the others.
const maxWaits = 256

// orderly is a connection on which whoever asks for a token that is held does not stand in line behind those who wait for another one, however
// many they are.
type orderly struct {
	grpc.ClientConnInterface
	waits chan struct{} // has one element for each call that may wait for long
}

// Invoke implements grpc.ClientConnInterface. A call that may wait for long is made when there is room for it, within the time of ctx.
func (o *orderly) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	if mayWait(args) {
		select {
		case o.waits <- struct{}{}:
			defer func() { <-o.waits }()
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	return o.ClientConnInterface.Invoke(ctx, method, args, reply, options...)
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
