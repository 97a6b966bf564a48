package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func TestTokensAreAnsweredFromMemory(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.start()
		w.must()
		calls := w.broker.Calls("shop")
		for range 100 {
			if got := w.must(); got.GetAccessToken() != value(1) || got.GetVersion() != 1 || got.GetName() != "shop" ||
				got.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE || got.GetExpireTime() == nil {
				t.Fatalf("got %v", got)
			}
		}
		if n := w.broker.Calls("shop") - calls; n != 0 {
			t.Errorf("the broker was called %d times", n)
		}
	})
}

func TestAnAgentServesThroughAnOutageUntilTheTrueEndAndNotLonger(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const life = 10 * time.Minute
		end := time.Now().Add(life)
		w.broker.Set("shop", value(1), life)
		w.start()
		w.must()
		w.network.Cut()
		for time.Until(end) > 10*time.Second {
			got := w.must()
			left := time.Until(end)
			if ttl := got.GetTtl().AsDuration(); ttl > left || ttl < left-time.Second || got.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
				t.Fatalf("%v before its end the token is %v and promised for %v", left, got.GetState(), ttl)
			}
			if again := got.GetRefreshAfter().AsDuration(); again <= 0 || again > left {
				t.Fatalf("with %v left callers shall come back after %v", left, again)
			}
			time.Sleep(7 * time.Second)
		}
		time.Sleep(time.Until(end))
		began := time.Now()
		_, err := w.get(0)
		expect(t, "after the end", err, "Unavailable tokenbroker/CLUSTER_UNREACHABLE with a time")
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("the caller was kept for %v", took)
		}

		w.broker.Set("shop", value(2), life)
		w.network.Heal()
		time.Sleep(15 * time.Second)
		if got := w.must(); got.GetVersion() != 2 {
			t.Errorf("after the outage the version is %d", got.GetVersion())
		}
	})
}

func TestATokenThatIsPromisedNoMoreIsSuspectUntilItsStatedEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.start()
		w.must()
		w.broker.Suspect("shop")
		w.network.Cut()
		time.Sleep(59 * time.Minute)
		w.network.Heal() // the broker still has it, suspect
		time.Sleep(20 * time.Second)
		got := w.must()
		if got.GetTtl().AsDuration() > 40*time.Second || got.GetAccessToken() == "" {
			t.Errorf("got %v", got)
		}
		time.Sleep(time.Minute)
		if got, err := w.get(0); err == nil {
			t.Errorf("after its stated end it is handed out: %v", got)
		}
	})
}

func TestMinTTLIsHonouredByAskingTheBroker(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), 4*time.Minute)
		w.start()
		w.must()
		time.Sleep(time.Minute)
		w.broker.Set("shop", value(1), 4*time.Minute) // the promise is renewed without a word, as that on a rotating token is
		if got := w.must().GetTtl().AsDuration(); got > 3*time.Minute {
			t.Fatalf("the agent promises %v, of which it was not told", got)
		}
		got, err := w.get(3*time.Minute + 30*time.Second)
		if err != nil || got.GetTtl().AsDuration() < 3*time.Minute+30*time.Second {
			t.Fatalf("got %v, %v", got, err)
		}
		if held := w.must().GetTtl().AsDuration(); held < 3*time.Minute+30*time.Second {
			t.Errorf("another caller is promised %v", held)
		}
		w.network.Cut()
		time.Sleep(10 * time.Second)
		_, err = w.get(3*time.Minute + 59*time.Second)
		expect(t, "more than there is, in an outage", err, "DeadlineExceeded tokenbroker/MIN_TTL_NOT_MET")
	})
}

// What a broker answers to one caller is what the next gets from memory.
func TestVersionsNeverGoBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Minute)
		w.start()
		w.must()
		synctest.Wait()
		var newest int64
		for version := int64(2); version < 30; version++ {
			w.broker.Set("shop", value(version), time.Duration(version)*time.Minute)
			got, err := w.get(time.Duration(version)*time.Minute - time.Second)
			if err != nil || got.GetVersion() < newest {
				t.Fatalf("after version %d: %v, %v", newest, got, err)
			}
			newest = got.GetVersion()
			if again := w.must(); again.GetVersion() < newest {
				t.Fatalf("after version %d the next caller gets version %d", newest, again.GetVersion())
			}
		}
	})
}

func TestRequestsAreRefusedAsABrokerDoes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.start()
		for _, c := range []struct {
			what string
			req  *tokenbrokerv1.GetTokenRequest
			want string
		}{
			{"an unknown name", &tokenbrokerv1.GetTokenRequest{Name: "nope"}, "NotFound"},
			{"no name", &tokenbrokerv1.GetTokenRequest{}, "InvalidArgument"},
			{"a bad name", &tokenbrokerv1.GetTokenRequest{Name: "A/b"}, "InvalidArgument"},
			{"a negative life", &tokenbrokerv1.GetTokenRequest{Name: "shop", MinTtl: durationpb.New(-1)}, "InvalidArgument"},
			{"no duration", &tokenbrokerv1.GetTokenRequest{Name: "shop", MinTtl: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "InvalidArgument"},
		} {
			_, err := w.api.GetToken(t.Context(), c.req)
			expect(t, c.what, err, c.want)
		}
		w.must()
		w.broker.Condemn("shop")
		time.Sleep(time.Second)
		_, err := w.get(0)
		expect(t, "a condemned token", err, "Unavailable tokenbroker/CONDEMNED with a time")
	})
}

func TestOrdersToOneReplicaAreNotServed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		_, err := tokenbrokerv1.NewAdminServiceClient(w.conn).GetStatus(t.Context(), &tokenbrokerv1.GetStatusRequest{}, grpc.WaitForReady(true))
		expect(t, "a call", err, "Unimplemented")
		if code, body := w.page("/v1/status"); code != 501 {
			t.Errorf("over HTTP: %d %s", code, body)
		}
	})
}

func TestCallersOfAnAgentAreToldThatItIsTheAgentWhoIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		for _, code := range []codes.Code{codes.PermissionDenied, codes.Unauthenticated} {
			w.broker.Fail(status.Error(code, "no rule lets spiffe://example.org/agent get it"))
			if code == codes.PermissionDenied {
				w.start()
			}
			time.Sleep(time.Minute)
			_, err := w.get(0)
			if st := status.Convert(err); st.Code() != code || st.Message() != "the brokers refuse it to this agent: no rule lets spiffe://example.org/agent get it" {
				t.Errorf("for %v callers get %v", code, err)
			}
		}
		w.broker.Fail(nil) // somebody wrote the rule
		time.Sleep(time.Minute)
		w.must()
	})
}
