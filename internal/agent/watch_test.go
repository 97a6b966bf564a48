package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// watch opens a stream, and returns what receives from it.
func (w *world) watch(name string) func() (*tokenbrokerv1.Token, error) {
	w.t.Helper()
	stream, err := w.api.WatchToken(w.t.Context(), &tokenbrokerv1.WatchTokenRequest{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return func() (*tokenbrokerv1.Token, error) {
		message, err := stream.Recv()
		return message.GetToken(), err
	}
}

func TestAStreamTellsOfVersionsAndOfTheEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.start()
		next := w.watch("shop")
		expectNext := func(what string, version int64, state tokenbrokerv1.TokenState) {
			t.Helper()
			got, err := next()
			if err != nil || got.GetVersion() != version || got.GetState() != state || (got.GetAccessToken() == "") != (state == tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED) {
				t.Fatalf("%s: got %v, %v", what, got, err)
			}
		}
		expectNext("at first", 1, tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE)
		synctest.Wait()
		w.broker.Set("shop", value(2), time.Minute)
		expectNext("a rotation", 2, tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE)
		w.network.Cut()
		expectNext("the end, in an outage", 2, tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED)
		w.broker.Set("shop", value(3), time.Hour)
		w.network.Heal()
		expectNext("after the outage", 3, tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE)
	})
}

func TestAStreamOfAnUnknownTokenEnds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		_, err := w.watch("nope")()
		expect(t, "an unknown name", err, "NotFound")
		_, err = w.watch("A/b")()
		expect(t, "a bad name", err, "InvalidArgument")
	})
}

func TestStreamsEndAndHealthSaysSoWhenTheAgentEnds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.start()
		next := w.watch("shop")
		if _, err := next(); err != nil {
			t.Fatal(err)
		}
		waiting := w.watch("nobody-knows-yet")
		health, err := grpc_health_v1.NewHealthClient(w.conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{
			Service: tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := health.Recv(); err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health is %v, %v", got.GetStatus(), err)
		}
		_, _ = waiting() // not found
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the end took %v", took)
		}
		if w.ended != nil {
			t.Errorf("it ended with %v", w.ended)
		}
		_, err = next()
		expect(t, "the stream", err, "Unavailable tokenbroker/REPLICA_DRAINING with a time")
		for err = nil; err == nil; {
			_, err = health.Recv()
		}
		expect(t, "health", err, "Unavailable tokenbroker/REPLICA_DRAINING with a time")
	})
}

func TestACallThatWaitsEndsWithTheAgent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.network.Cut()
		w.start()
		failed := make(chan error)
		go func() {
			_, err := w.get(time.Minute)
			failed <- err
		}()
		time.Sleep(time.Second)
		w.stop()
		expect(t, "the call", <-failed, "Unavailable tokenbroker/REPLICA_DRAINING with a time")
	})
}
