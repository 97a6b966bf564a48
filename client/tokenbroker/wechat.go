package tokenbroker

import (
	"context"
	"math"
	"sync/atomic"
)

// The shapes in which Go SDKs for WeChat take a token from elsewhere. None of these SDKs is imported. Calls without a context wait as long as
// WithPatience says.

// Silenceper is a credential.AccessTokenHandle and credential.AccessTokenContextHandle of github.com/silenceper/wechat/v2:
//
//	account.SetAccessTokenHandle(source.Silenceper())
func (s *Source) Silenceper() SilenceperHandle { return SilenceperHandle{s} }

// SilenceperHandle is made by Source.Silenceper.
type SilenceperHandle struct{ source *Source }

// GetAccessToken returns the token's value.
func (h SilenceperHandle) GetAccessToken() (string, error) {
	return h.GetAccessTokenContext(context.Background())
}

// GetAccessTokenContext returns the token's value, within the time of ctx.
func (h SilenceperHandle) GetAccessTokenContext(ctx context.Context) (string, error) {
	t, err := h.source.Token(ctx)
	return t.Value(), err
}

// Chanxuehong is a core.AccessTokenServer of github.com/chanxuehong/wechat:
//
//	client := core.NewClient(source.Chanxuehong(), nil)
func (s *Source) Chanxuehong() ChanxuehongServer { return ChanxuehongServer{s} }

// ChanxuehongServer is made by Source.Chanxuehong.
type ChanxuehongServer struct{ source *Source }

// Token returns the token's value.
func (c ChanxuehongServer) Token() (string, error) {
	t, err := c.source.Token(context.Background())
	return t.Value(), err
}

// RefreshToken reports the token if current is its value, and returns the newer one. Any other value has been replaced already.
func (c ChanxuehongServer) RefreshToken(current string) (string, error) {
	ctx := context.Background()
	t, err := c.source.Token(ctx)
	if err == nil && t.Value() == current {
		t, err = c.source.Invalid(ctx, t)
	}
	return t.Value(), err
}

// IID01332E16DF5011E5A9D5A4DB30FED8E1 is how that SDK recognises the interface.
func (ChanxuehongServer) IID01332E16DF5011E5A9D5A4DB30FED8E1() {}

// PowerWeChat is what github.com/ArtisanCloud/PowerWeChat/v3 takes as AccessToken.GetCustomToken. M is its object.HashMap:
//
//	app.AccessToken.GetCustomToken = tokenbroker.PowerWeChat[object.HashMap](source)
//
// With refresh, the token that was returned last is reported. That SDK has no room for an error, and panics where expires_in is missing; a
// map without access_token is its own error, "no token found in cache". The client's log gets the reason.
func PowerWeChat[M ~map[string]any](s *Source) func(key string, refresh bool) M {
	var last atomic.Pointer[Token]
	return func(_ string, refresh bool) M {
		ctx := context.Background()
		t, err := s.Token(ctx)
		if given := last.Load(); refresh && given != nil && err == nil {
			t, err = s.Invalid(ctx, *given)
		}
		if err != nil {
			s.client.cfg.logger.WarnContext(ctx, "no token for PowerWeChat", "token", s.name, "err", err)
			return M{"expires_in": 0.0}
		}
		last.Store(&t)
		return M{"access_token": t.Value(), "expires_in": math.Floor(t.TTL().Seconds())}
	}
}
