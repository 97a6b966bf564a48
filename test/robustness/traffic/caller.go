package traffic

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

const (
	// callTime is how long a GetToken may take. Replicas answer from memory, or wait a second for something better.
	callTime = 4 * time.Second
	// demanding is one in how many calls asks for a least life.
	demanding = 12
)

// caller asks one replica for every token, again and again.
type caller struct {
	actor
	replica Replica
	service tokenbrokerv1.TokenBrokerServiceClient
}

func newCaller(a actor, r Replica) *caller {
	return &caller{actor: a, replica: r, service: tokenbrokerv1.NewTokenBrokerServiceClient(r.Conn)}
}

func (c *caller) run(ctx context.Context) error {
	for c.rest(ctx, c.Pace) {
		tok := c.Tokens[c.rng.IntN(len(c.Tokens))]
		var least time.Duration
		if c.rng.IntN(demanding) == 0 {
			least = time.Duration(c.rng.Float64() * 0.9 * float64(tok.Promise))
		}
		c.get(ctx, tok.Name, least)
	}
	return nil
}

// get is one GetToken. It returns what went into the history.
func (c *caller) get(ctx context.Context, name string, least time.Duration) history.Event {
	ctx, cancel := limited(ctx, callTime)
	defer cancel()
	req := &tokenbrokerv1.GetTokenRequest{Name: name}
	if least > 0 {
		req.MinTtl = durationpb.New(least)
	}
	e := history.Event{Kind: history.Get, Actor: c.name, Replica: c.replica.ID, Token: name, MinTTL: least, Sent: c.Recorder.Now()}
	resp, err := c.service.GetToken(ctx, req)
	e.Received = c.Recorder.Now()
	e = Answered(e, resp.GetToken(), err)
	c.Recorder.Add(e)
	return e
}
