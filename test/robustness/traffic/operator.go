package traffic

import (
	"context"
	"time"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

const (
	// errandTime is how long a command may take.
	errandTime = 10 * time.Second
	// WeChat heeds a forced refresh 30 s after the last and 20 times a day; some are left to reports that were confirmed.
	forceSpacing = 45 * time.Second
	mostForced   = 10
)

// operator gives commands to one replica or another.
type operator struct {
	actor
	forced   int
	forcedAt time.Duration // when the last was sent
}

func newOperator(a actor) *operator { return &operator{actor: a, forcedAt: -forceSpacing} }

func (o *operator) run(ctx context.Context) error {
	for o.rest(ctx, o.Errands) {
		r, tok := o.Replicas[o.rng.IntN(len(o.Replicas))], o.Tokens[o.rng.IntN(len(o.Tokens))]
		switch n := o.rng.IntN(20); {
		case n < 7:
			o.list(ctx, r)
		case n < 14:
			o.status(ctx, r)
		case n < 17:
			o.refresh(ctx, r, tok, false)
		case n < 19:
			o.refresh(ctx, r, tok, tok.Forcible && o.mayForce())
		default:
			o.resign(ctx, r)
		}
	}
	return nil
}

func (o *operator) mayForce() bool {
	now := o.Recorder.Now()
	if o.forced == mostForced || now-o.forcedAt < forceSpacing {
		return false
	}
	o.forced, o.forcedAt = o.forced+1, now
	return true
}

// command makes one call. call returns the tokens that came back; each becomes an event, a call without any becomes one.
func (o *operator) command(ctx context.Context, e history.Event, call func(context.Context) ([]*tokenbrokerv1.Token, error)) {
	ctx, cancel := limited(ctx, errandTime)
	defer cancel()
	e.Actor, e.Sent = o.name, o.Recorder.Now()
	toks, err := call(ctx)
	e.Received = o.Recorder.Now()
	if err != nil || len(toks) == 0 {
		o.Recorder.Add(Answered(e, nil, err))
		return
	}
	for _, tok := range toks {
		e.Token = tok.GetName()
		o.Recorder.Add(Answered(e, tok, nil))
	}
}

func (o *operator) list(ctx context.Context, r Replica) {
	o.command(ctx, history.Event{Kind: history.List, Replica: r.ID}, func(ctx context.Context) ([]*tokenbrokerv1.Token, error) {
		resp, err := tokenbrokerv1.NewTokenBrokerServiceClient(r.Conn).ListTokens(ctx, &tokenbrokerv1.ListTokensRequest{})
		return resp.GetTokens(), err
	})
}

func (o *operator) status(ctx context.Context, r Replica) {
	o.command(ctx, history.Event{Kind: history.Status, Replica: r.ID}, func(ctx context.Context) ([]*tokenbrokerv1.Token, error) {
		resp, err := tokenbrokerv1.NewAdminServiceClient(r.Conn).GetStatus(ctx, &tokenbrokerv1.GetStatusRequest{})
		var toks []*tokenbrokerv1.Token
		for _, s := range resp.GetTokens() {
			toks = append(toks, &tokenbrokerv1.Token{
				Name: s.GetName(), Version: s.GetVersion(), Ttl: s.GetTtl(), State: s.GetState(), Local: s.GetLocal(),
			})
		}
		return toks, err
	})
}

func (o *operator) refresh(ctx context.Context, r Replica, tok Token, force bool) {
	e := history.Event{Kind: history.Refresh, Replica: r.ID, Token: tok.Name}
	if force {
		e.Reason = "force"
	}
	o.command(ctx, e, func(ctx context.Context) ([]*tokenbrokerv1.Token, error) {
		resp, err := tokenbrokerv1.NewAdminServiceClient(r.Conn).RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: tok.Name, Force: force})
		if err != nil {
			return nil, err
		}
		return []*tokenbrokerv1.Token{resp.GetToken()}, nil
	})
}

func (o *operator) resign(ctx context.Context, r Replica) {
	o.command(ctx, history.Event{Kind: history.Resign, Replica: r.ID}, func(ctx context.Context) ([]*tokenbrokerv1.Token, error) {
		_, err := tokenbrokerv1.NewAdminServiceClient(r.Conn).ResignLeadership(ctx, &tokenbrokerv1.ResignLeadershipRequest{})
		return nil, err
	})
}
