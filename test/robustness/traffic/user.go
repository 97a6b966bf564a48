package traffic

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

const (
	// useTime is what a user waits between two uses of a token, on average.
	useTime = time.Second
	// reportTime is how long a report may take: a probe and a fetch.
	reportTime = 8 * time.Second
	// careless is one in how many tokens is used for longer than its promise.
	careless = 6
)

// user takes one token from one replica, uses it at WeChat until its promise has ended, and takes it anew.
type user struct {
	caller
	token Token
}

func newUser(a actor, r Replica, tok Token) *user { return &user{*newCaller(a, r), tok} }

func (u *user) run(ctx context.Context) error {
	for u.rest(ctx, useTime) {
		got := u.get(ctx, u.token.Name, 0)
		if got.Answer == nil {
			continue
		}
		keep := min(got.Answer.TTL, u.token.Promise)
		if u.rng.IntN(careless) == 0 {
			keep += 2 * useTime
		}
		for u.use(ctx, got.Answer) && u.Recorder.Now() < got.Sent+keep && u.rest(ctx, useTime) {
		}
	}
	return nil
}

// use is one business call with a token; a token that WeChat refuses is reported. It reports whether WeChat took it.
func (u *user) use(ctx context.Context, got *history.Answer) bool {
	e := history.Event{
		Kind: history.Used, Actor: u.name, Replica: u.replica.ID, Token: u.token.Name, Code: "0", Answer: got, Sent: u.Recorder.Now(),
	}
	err := u.token.Check(got.Value)
	e.Received = u.Recorder.Now()
	refusal, refused := errors.AsType[*wechattest.Error](err)
	if refused {
		e.Code, e.Detail = strconv.Itoa(refusal.Code), refusal.Message
	}
	u.Recorder.Add(e)
	if refused && slices.Contains([]int{40001, 40014, 42001}, refusal.Code) {
		u.report(ctx, got)
	}
	return !refused
}

// report tells the replica that a token is dead. Some callers know the version, others the value only.
func (u *user) report(ctx context.Context, got *history.Answer) {
	ctx, cancel := limited(ctx, reportTime)
	defer cancel()
	req := &tokenbrokerv1.ReportInvalidTokenRequest{
		Name: u.token.Name, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: got.Version},
	}
	if u.rng.IntN(2) == 0 {
		req.Reported = &tokenbrokerv1.ReportInvalidTokenRequest_AccessToken{AccessToken: got.Value}
	}
	e := history.Event{
		Kind: history.Report, Actor: u.name, Replica: u.replica.ID, Token: u.token.Name, Asked: got.Version, Sent: u.Recorder.Now(),
	}
	resp, err := u.service.ReportInvalidToken(ctx, req)
	e.Received = u.Recorder.Now()
	u.Recorder.Add(Answered(e, resp.GetToken(), err))
}
