package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func (w *world) list() ([]*tokenbrokerv1.Token, error) {
	answer, err := w.api.ListTokens(w.t.Context(), &tokenbrokerv1.ListTokensRequest{}, grpc.WaitForReady(true))
	return answer.GetTokens(), err
}

func TestTheLastListStandsInAnOutageAndAges(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("other", value(9), time.Hour)
		w.broker.Set("shop", value(1), 10*time.Minute)
		w.start()
		w.must()
		synctest.Wait()
		w.network.Cut()
		began := time.Now()
		for _, c := range []struct {
			after       time.Duration
			shop, other tokenbrokerv1.TokenState
		}{
			{time.Minute, tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE},
			{11 * time.Minute, tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED, tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE},
			{61 * time.Minute, tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED, tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED},
		} {
			time.Sleep(c.after - time.Since(began))
			got, err := w.list()
			if err != nil || len(got) != 2 || got[0].GetName() != "other" || got[0].GetState() != c.other || got[1].GetState() != c.shop {
				t.Fatalf("after %v: %v, %v", c.after, got, err)
			}
			for _, of := range got {
				if left := map[string]time.Duration{"other": time.Hour, "shop": 10 * time.Minute}[of.GetName()] - c.after; of.GetTtl().AsDuration() > max(left, 0) {
					t.Errorf("after %v %s is promised for %v", c.after, of.GetName(), of.GetTtl().AsDuration())
				}
				if of.GetAccessToken() != "" {
					t.Errorf("there is a value in the list, of %s", of.GetName())
				}
			}
		}
	})
}

func TestAListThatNeverWasIsAnError(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.network.Cut()
		w.start()
		_, err := w.list()
		expect(t, "the list", err, "Unavailable tokenbroker/CLUSTER_UNREACHABLE with a time")
	})
}

// A replica that lags behind must not make the list contradict what the agent hands out.
func TestAListSaysOfHeldTokensWhatGetTokenDoes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Minute)
		w.start()
		w.must()
		w.broker.Set("shop", value(1), time.Hour) // the agent is not told
		got, err := w.list()
		if err != nil || len(got) != 1 || got[0].GetTtl().AsDuration() > time.Minute {
			t.Errorf("got %v, %v", got, err)
		}
	})
}
