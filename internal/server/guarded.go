package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// visitKey is the context key of a call's Visit, for handlers that ask it more than once.
type visitKey struct{}

// visitOf returns the Visit of a call. Where there is no guard everything is allowed.
func visitOf(ctx context.Context) Visit {
	if visit, ok := ctx.Value(visitKey{}).(Visit); ok {
		return visit
	}
	return unguarded{}
}

// unguarded is a visit where nobody is asked who they are.
type unguarded struct{}

// Allow implements Visit.
func (unguarded) Allow(string) error { return nil }

// Hand implements Visit.
func (unguarded) Hand(string, int64) error { return nil }

// End implements Visit.
func (unguarded) End(error) {}

// guarded carries a call out for a visit: the request is seen by the guard before the handler sees it, and the answer before it leaves.
func (c *call) guarded(
	ctx context.Context, visit Visit, next grpc.MethodHandler, srv any, decode func(any) error, interceptor grpc.UnaryServerInterceptor,
) (any, error) {
	if c.scope == ofEach {
		ctx = context.WithValue(ctx, visitKey{}, visit)
	}
	response, err := next(srv, ctx, func(request any) error {
		if err := decode(request); err != nil {
			return err
		}
		return c.scope.ask(visit, request)
	}, interceptor)
	if err != nil {
		return nil, err
	}
	if err := hand(visit, response); err != nil {
		return nil, err
	}
	return response, nil
}

// hand tells the guard what is about to leave. How long that takes is taken off the life that the message tells of.
func hand(visit Visit, message any) error {
	about, ok := message.(interface{ GetToken() *tokenbrokerv1.Token })
	if !ok {
		return visit.Hand("", 0)
	}
	t, begin := about.GetToken(), time.Now()
	if err := visit.Hand(t.GetName(), t.GetVersion()); err != nil {
		return err
	}
	return shorten(t, time.Since(begin))
}

// shorten takes what has passed off the life that is promised. If nothing is left, the message must not leave: asked again, the handler knows
// whether there is still a token.
func shorten(t *tokenbrokerv1.Token, passed time.Duration) error {
	if t.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
		return nil
	}
	left := t.GetTtl().AsDuration() - passed
	if left <= 0 {
		return errTooLate
	}
	setDuration(t.GetTtl(), left)
	setDuration(t.GetRefreshAfter(), min(left, t.GetRefreshAfter().AsDuration()))
	return nil
}

// guardedStream is a stream whose every message is seen by the guard.
type guardedStream struct {
	grpc.ServerStream
	ctx   context.Context
	visit Visit
	scope scope
}

// guard makes a stream that of a visit.
func (c *call) guard(visit Visit, stream grpc.ServerStream) grpc.ServerStream {
	return &guardedStream{stream, context.WithValue(stream.Context(), visitKey{}, visit), visit, c.scope}
}

// Context returns a context that has the visit.
func (g *guardedStream) Context() context.Context { return g.ctx }

// RecvMsg receives a request that is allowed.
func (g *guardedStream) RecvMsg(m any) error {
	if err := g.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return g.scope.ask(g.visit, m)
}

// SendMsg sends what may leave.
func (g *guardedStream) SendMsg(m any) error {
	if err := hand(g.visit, m); err != nil {
		return err
	}
	return g.ServerStream.SendMsg(m)
}
