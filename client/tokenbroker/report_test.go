package tokenbroker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

func TestManyReportsOfOneVersionAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		old := must(t, c)
		var callers sync.WaitGroup
		for range 64 {
			callers.Go(func() {
				if next, err := c.Invalid(t.Context(), old); err != nil || next.Version() != 2 {
					t.Errorf("got %v, %v", next, err)
				}
			})
		}
		callers.Wait()
		if n := broker.Reports("shop"); n != 1 {
			t.Errorf("%d reports", n)
		}
	})
}

func TestEachReporterWaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.set(1, time.Hour, c.replicas...)
		client := c.client()
		old := must(t, client)
		c.network.Hold(netfault.ToClient)
		var callers sync.WaitGroup
		callers.Go(func() {
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if got, err := client.Invalid(ctx, old); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
				t.Errorf("got %v, %v after %v", got, err, time.Since(begin))
			}
		})
		callers.Go(func() {
			if next, err := client.Invalid(t.Context(), old); err != nil || next.Version() != 2 {
				t.Errorf("got %v, %v", next, err)
			}
		})
		time.Sleep(5 * time.Second)
		c.network.Heal()
		callers.Wait()
		if n := c.replicas[0].Reports("shop"); n != 1 {
			t.Errorf("%d reports", n)
		}
	})
}

func TestARefusedVersionIsHandedOutToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.set(1, time.Hour, c.replicas...)
		client := c.client()
		old := must(t, client)
		c.network.Hold(netfault.ToClient)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := client.Invalid(ended, old); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if got, err := tryToken(t, client); err == nil {
			t.Errorf("got %v", got)
		}
		c.network.Heal()
		if got := must(t, client); got.Version() != 2 { // although nobody waited for the report
			t.Errorf("got %v", got)
		}
	})
}

func TestAReportThatFailedIsRepeatedUntilItIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		old := must(t, c)
		broker.Fail(status.Error(codes.Unavailable, "no leader"))
		if _, err := c.Invalid(t.Context(), old); status.Code(err) != codes.Unavailable {
			t.Fatalf("got %v", err)
		}
		time.Sleep(time.Minute)
		broker.Fail(nil)
		if got := must(t, c); got.Version() != 2 {
			t.Errorf("got %v", got)
		}
	})
}

func TestABrokerThatMayNotFetchIsAskedAgainWhenItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		old := must(t, c)
		limit, err := status.New(codes.ResourceExhausted, "spacing").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		broker.Fail(limit.Err())
		begin := time.Now()
		for range 3 { // the later ones while nothing is under way
			_, err := c.Invalid(t.Context(), old)
			refused := &tokenbroker.Error{}
			if !errors.As(err, &refused) || refused.RetryAfter != time.Minute {
				t.Fatalf("got %v", err)
			}
		}
		if _, err := c.Token(t.Context(), "shop"); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(begin); waited > 0 || broker.Reports("shop") != 1 {
			t.Errorf("waited %v, and reported %d times", waited, broker.Reports("shop"))
		}
		time.Sleep(59 * time.Second)
		if n := broker.Reports("shop"); n != 1 {
			t.Errorf("reported %d times within the minute", n)
		}
		broker.Fail(nil)
		time.Sleep(time.Minute)
		if got := must(t, c); got.Version() != 2 || broker.Reports("shop") != 2 {
			t.Errorf("got %v after %d reports", got, broker.Reports("shop"))
		}
	})
}

func TestAVersionThatTheUpstreamVouchesForIsHandedOutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		broker.Vouch("shop")
		c := broker.Client()
		got, err := c.Invalid(t.Context(), must(t, c))
		if err != nil || got.Version() != 1 || must(t, c).Version() != 1 {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestWhatTheBrokerCondemnsIsHandedOutNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		old := must(t, c)
		synctest.Wait()
		broker.Condemn("shop") // somebody else reported it
		time.Sleep(time.Second)
		_, err := c.Token(t.Context(), "shop")
		refused := &tokenbroker.Error{}
		if !errors.As(err, &refused) || refused.Reason != "CONDEMNED" {
			t.Errorf("got %v", err)
		}
		if _, err := c.Invalid(t.Context(), old); !errors.As(err, &refused) || refused.Reason != "CONDEMNED" || broker.Reports("shop") > 0 {
			t.Errorf("got %v after %d reports of what is known", err, broker.Reports("shop"))
		}
		broker.Rotate("shop")
		synctest.Wait()
		if got := must(t, c); got.Version() != 2 {
			t.Errorf("got %v", got)
		}
	})
}

// A cluster whose store was replaced begins with version 1 again.
func TestAReplacedStoreIsBelievedWhenItKnowsNothingOfTheReportedVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		for range 7 {
			broker.Rotate("shop")
		}
		c := broker.Client()
		old := must(t, c)
		broker.Remove("shop")
		time.Sleep(time.Minute)
		broker.Set("shop", "new", time.Hour)
		time.Sleep(time.Minute)
		if got := must(t, c); got.Version() != 7 {
			t.Errorf("versions went back: %v", got)
		}
		if _, err := c.Invalid(t.Context(), old); status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
		if got := must(t, c); got.Value() != "new" {
			t.Errorf("got %v", got)
		}
	})
}

// No caller is ever given a version that another caller had reported before.
func TestReportersAndReadersAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		source := broker.Client().Source("shop")
		var refused atomic.Int64
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				for range 50 {
					floor := refused.Load()
					token, err := source.Token(t.Context())
					if err != nil || token.Version() <= floor {
						t.Errorf("got %v, %v after a report of version %d", token, err, floor)
					}
					if token.Version() <= floor {
						continue
					}
					if _, err := source.Invalid(t.Context(), token); err != nil {
						t.Error(err)
					}
					for seen := refused.Load(); seen < token.Version() && !refused.CompareAndSwap(seen, token.Version()); {
						seen = refused.Load()
					}
				}
			})
		}
		callers.Wait()
	})
}

func TestAReportByVersion(t *testing.T) {
	for _, c := range []struct {
		what               string
		reported, next     int64
		code               codes.Code
		reports, heldAfter int64
	}{
		{"of the version that is held is like any other", 2, 3, codes.OK, 1, 3},
		{"of an older one is answered from memory", 1, 2, codes.OK, 0, 2},
		{"of a newer one is the broker's to judge", 3, 4, codes.OK, 1, 4},
		{"of one that never was costs nobody the token", 7, 0, codes.InvalidArgument, 1, 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := tokenbrokertest.New(t)
				broker.Set("shop", "one", time.Hour)
				broker.Set("shop", "two", time.Hour)
				client := broker.Client(withoutStreams())
				must(t, client)
				if c.reported == 3 {
					broker.Set("shop", "three", time.Hour) // of which the client does not hear
				}
				got, err := client.InvalidVersion(t.Context(), "shop", c.reported)
				if got.Version() != c.next || status.Code(err) != c.code {
					t.Errorf("got %v, %v", got, err)
				}
				if n := broker.Reports("shop"); int64(n) != c.reports {
					t.Errorf("the broker was told %d times", n)
				}
				if held := must(t, client); held.Version() != c.heldAfter {
					t.Errorf("the next caller gets %v", held)
				}
			})
		})
	}
}

// withoutStreams has a client hear of nothing that it does not ask for.
func withoutStreams() tokenbroker.Option {
	return tokenbroker.WithDialOptions(grpc.WithStreamInterceptor(
		func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
			return nil, status.Error(codes.Unimplemented, "no streams")
		}))
}
