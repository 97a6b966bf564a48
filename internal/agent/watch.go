package agent

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// WatchToken implements the method of that name. However many streams there are, the agent follows a token once. While Send blocks on a
// slow reader nothing is remembered, and what is sent next is what is true then.
//
// It returns when the caller goes away, the agent shuts down, or a broker says that there is no such token.
func (s *service) WatchToken(req *tokenbrokerv1.WatchTokenRequest, stream grpc.ServerStreamingServer[tokenbrokerv1.WatchTokenResponse]) error {
	ctx, name := stream.Context(), req.GetName()
	if err := s.admit(name); err != nil {
		return err
	}
	var sent *tokenbrokerv1.Token
	var last error
	for held, err := range s.client.Watch(ctx, name) {
		if last = err; ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t := news(held, err, sent)
		if t == nil {
			continue
		}
		if err := stream.Send(&tokenbrokerv1.WatchTokenResponse{Token: t}); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("sending token %q: %w", name, err)
		}
		sent = t
	}
	if said, ok := spoken(last); ok {
		return said
	}
	return last
}

// news is what to send next; nil for nothing. That there is no token is told to those only who were told of one.
func news(held tokenbroker.Token, err error, sent *tokenbrokerv1.Token) *tokenbrokerv1.Token {
	if err == nil {
		return describe(held)
	}
	_, verdict := errors.AsType[*tokenbroker.Error](err)
	if !verdict || sent.GetVersion() == 0 || sent.GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED {
		return nil
	}
	end := describe(tokenbroker.Token{})
	end.Name, end.Version, end.ExpireTime = sent.GetName(), sent.GetVersion(), sent.GetExpireTime()
	end.Upstream, end.AppId, end.Local = sent.GetUpstream(), sent.GetAppId(), sent.GetLocal()
	return end
}
