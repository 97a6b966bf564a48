package traffic

import (
	"context"
	"time"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// How long a watcher waits before it opens a stream that has ended once more: longer each time, until a message comes.
const (
	firstReopen   = 100 * time.Millisecond
	longestReopen = 2 * time.Second
)

// watcher holds a stream for one token open on one replica.
type watcher struct {
	actor
	replica Replica
	token   Token
	service tokenbrokerv1.TokenBrokerServiceClient
}

func newWatcher(a actor, r Replica, tok Token) *watcher {
	return &watcher{actor: a, replica: r, token: tok, service: tokenbrokerv1.NewTokenBrokerServiceClient(r.Conn)}
}

func (w *watcher) run(ctx context.Context) error {
	wait := firstReopen
	for w.rest(ctx, wait) {
		if w.stream(ctx) {
			wait = firstReopen
		} else {
			wait = min(2*wait, longestReopen)
		}
	}
	return nil
}

// stream opens one stream and writes down what comes, until it ends. It reports whether anything came.
func (w *watcher) stream(ctx context.Context) bool {
	e := history.Event{Kind: history.Watched, Actor: w.name, Replica: w.replica.ID, Token: w.token.Name, Sent: w.Recorder.Now()}
	stream, err := w.service.WatchToken(ctx, &tokenbrokerv1.WatchTokenRequest{Name: w.token.Name})
	came := false
	for err == nil {
		var resp *tokenbrokerv1.WatchTokenResponse
		if resp, err = stream.Recv(); err == nil {
			came = true
			e.Received = w.Recorder.Now()
			w.Recorder.Add(Answered(e, resp.GetToken(), nil))
		}
	}
	if ctx.Err() == nil { // it did not end with the run
		e.Received = w.Recorder.Now()
		w.Recorder.Add(Answered(e, nil, err))
	}
	return came
}
