package e2e_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// callPause is the time between two calls of one caller.
	callPause = 2 * time.Millisecond
	// callTime is how long a call may take. Replicas answer from memory.
	callTime = 5 * time.Second
)

// answer is what came of one call.
type answer struct {
	caller         string // who was asked: a replica's id, or "all"
	name           string
	sent, received time.Time
	token          *tokenbrokerv1.Token
	err            error
}

// traffic is callers that ask again and again.
type traffic struct {
	stop    context.CancelFunc
	callers sync.WaitGroup

	mu      sync.Mutex
	answers []answer
	latest  map[[2]string]time.Time // when each caller sent the last call that was answered, by caller and name
}

// startTraffic has every connection asked for every name until the traffic ends. The keys of conns say who is asked.
func startTraffic(t *testing.T, conns map[string]*grpc.ClientConn, names ...string) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{stop: stop, latest: map[[2]string]time.Time{}}
	for caller := range conns { // all of them before the first call
		for _, name := range names {
			tr.latest[[2]string{caller, name}] = time.Time{}
		}
	}
	for caller, conn := range conns {
		for _, name := range names {
			tr.callers.Go(func() { tr.call(ctx, caller, tokenbrokerv1.NewTokenBrokerServiceClient(conn), name) })
		}
	}
	t.Cleanup(func() { tr.end() })
	return tr
}

// directly names the connections to single replicas.
func directly(brokers ...*broker) map[string]*grpc.ClientConn {
	conns := map[string]*grpc.ClientConn{}
	for _, b := range brokers {
		conns[b.id] = b.conn
	}
	return conns
}

func (tr *traffic) call(ctx context.Context, caller string, service tokenbrokerv1.TokenBrokerServiceClient, name string) {
	pace := time.NewTicker(callPause)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		// The call under way when the traffic ends is a call like any other.
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
		a := answer{caller: caller, name: name, sent: time.Now()}
		resp, err := service.GetToken(cctx, &tokenbrokerv1.GetTokenRequest{Name: name})
		a.received, a.token, a.err = time.Now(), resp.GetToken(), err
		cancel()
		tr.mu.Lock()
		tr.answers = append(tr.answers, a)
		tr.latest[[2]string{caller, name}] = a.sent
		tr.mu.Unlock()
	}
}

// end stops the callers and returns all answers, in the order of their arrival.
func (tr *traffic) end() []answer {
	tr.stop()
	tr.callers.Wait()
	return tr.answers
}

// goOn waits until every caller has called, and been answered, from now on.
func (tr *traffic) goOn(t *testing.T) {
	t.Helper()
	now := time.Now()
	eventually(t, ample, "everybody was answered once more", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for _, sent := range tr.latest {
			if !sent.After(now) {
				return false
			}
		}
		return true
	})
}
