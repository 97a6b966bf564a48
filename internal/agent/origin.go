package agent

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// originsKept is how many versions of a token are remembered: the one that is handed out is among the last two or three.
const originsKept = 8

// origin says whose token a version is. The SDK does not keep that, and a name may stand for another application from one version to the next.
type origin struct {
	version         int64
	upstream, appID string
}

// origins remembers the origin of what brokers answered, by the name of the token.
type origins struct {
	mu sync.Mutex
	of map[string][]origin // the newest answer last
}

// intercept is a grpc.UnaryClientInterceptor. It notes an answer before whoever asked gets it, so that no token is held whose origin is
// not known.
func (o *origins) intercept(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, next grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	err := next(ctx, method, request, reply, conn, options...)
	if answer, ok := reply.(interface{ GetToken() *tokenbrokerv1.Token }); ok && err == nil && answer.GetToken() != nil {
		o.note(answer.GetToken())
	}
	return err
}

func (o *origins) note(t *tokenbrokerv1.Token) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := slices.DeleteFunc(o.of[t.GetName()], func(old origin) bool { return old.version == t.GetVersion() })
	known = append(known, origin{t.GetVersion(), t.GetUpstream(), t.GetAppId()})
	o.of[t.GetName()] = known[max(0, len(known)-originsKept):]
}

// find returns the origin of a version.
func (o *origins) find(name string, version int64) origin {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, known := range o.of[name] {
		if known.version == version {
			return known
		}
	}
	return origin{}
}

// known reports whether a broker has ever answered with the token.
func (o *origins) known(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.of[name]) > 0
}
