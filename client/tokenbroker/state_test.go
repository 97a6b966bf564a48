package tokenbroker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

func TestASuspectTokenIsHandedOutWithoutAPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		broker.Suspect("shop")
		if got := must(t, broker.Client()); got.State() != tokenbroker.Suspect || got.TTL() != 0 || got.Value() != "one" {
			t.Errorf("got %v", got)
		}
	})
}

func TestNoSuspectTokenForWhoeverWantsAnyLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		broker.Suspect("shop")
		c := broker.Client(tokenbroker.WithMinLife(time.Nanosecond))
		time.AfterFunc(10*time.Second, func() { broker.Set("shop", "two", time.Hour) })
		begin := time.Now()
		if got := must(t, c); got.Version() != 2 || time.Since(begin) != 10*time.Second {
			t.Errorf("got %v after %v", got, time.Since(begin))
		}
	})
}

// The promise of a former answer does not end because another replica cannot give one.
func TestAPromiseStandsWhileAReplicaPromisesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		must(t, c)
		synctest.Wait()
		broker.Suspect("shop")
		time.Sleep(59 * time.Minute)
		if got := must(t, c); got.State() != tokenbroker.Active || got.TTL() > time.Minute {
			t.Errorf("got %v for %v", got, got.TTL())
		}
	})
}

// WeChat classic: four minutes are promised at a time, of two hours.
func TestATokenWhosePromiseRanOutIsSuspectUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", 2*time.Hour)
		broker.Window("shop", 4*time.Minute)
		c := broker.Client()
		time.Sleep(time.Hour)
		if got := must(t, c); got.State() != tokenbroker.Active || got.TTL() > 4*time.Minute {
			t.Errorf("got %v for %v", got, got.TTL())
		}
		broker.Fail(status.Error(codes.Unavailable, "away"))
		time.Sleep(4 * time.Minute)
		if got := must(t, c); got.State() != tokenbroker.Suspect || got.TTL() != 0 {
			t.Errorf("got %v for %v", got, got.TTL())
		}
		time.Sleep(56 * time.Minute)
		if got, err := tryToken(t, c); err == nil {
			t.Errorf("got %v after its end", got)
		}
	})
}

func TestAReplicaThatLagsBehindDoesNotHideASuspectToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		ahead, behind := c.replicas[0], c.replicas[1]
		c.set(1, 2*time.Hour, ahead, behind)
		c.set(2, 2*time.Hour, ahead)
		ahead.Window("shop", 4*time.Minute)
		client := c.client()
		eventually(t, client, 2)
		c.network[0].Cut()
		time.Sleep(time.Hour)
		if got := must(t, client); got.Version() != 2 || got.State() != tokenbroker.Suspect {
			t.Errorf("got %v", got)
		}
		if behind.Calls("shop") == 0 {
			t.Error("the replica that lags behind was not asked")
		}
	})
}

func TestALivingTokenIsNotReplacedByANewerSuspectOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		must(t, c)
		synctest.Wait()
		broker.Set("shop", "two", 2*time.Hour)
		broker.Suspect("shop")
		time.Sleep(59 * time.Minute)
		if got := must(t, c); got.Version() != 1 || got.State() != tokenbroker.Active {
			t.Errorf("got %v", got)
		}
		time.Sleep(2 * time.Minute)
		if got := must(t, c); got.Version() != 2 || got.State() != tokenbroker.Suspect {
			t.Errorf("got %v", got)
		}
	})
}

func TestOnlyTokensOfTheLeastLifeAreHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", 10*time.Minute)
		c := broker.Client(tokenbroker.WithMinLife(5 * time.Minute))
		must(t, c)
		time.Sleep(5*time.Minute - 1)
		if got := must(t, c); got.Version() != 1 {
			t.Errorf("got %v", got)
		}
		time.AfterFunc(20*time.Second, func() { broker.Set("shop", "two", 10*time.Minute) })
		time.Sleep(time.Nanosecond)
		if got := must(t, c); got.Version() != 2 {
			t.Errorf("got %v", got)
		}
	})
}

func TestVersionsNeverGoBackWhateverReplicaAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		ahead, behind := c.replicas[0], c.replicas[1]
		c.set(1, 10*time.Second, ahead, behind)
		client := c.client()
		last := must(t, client).Version()
		for version := int64(2); version < 50; version++ {
			c.set(version, 10*time.Second, ahead)
			calls := behind.Calls("shop")
			for range 9 { // each replica is asked several times
				time.Sleep(time.Second)
				got := must(t, client)
				if got.Version() < last {
					t.Fatalf("got %v after version %d", got, last)
				}
				last = got.Version()
			}
			if last != version || behind.Calls("shop") == calls {
				t.Errorf("version %d is not known, or the replica that lags behind was not asked", version)
			}
			c.set(version, 10*time.Second, behind)
		}
	})
}

func TestPollingTakesOverWhereStreamsDoNotWork(t *testing.T) {
	for name, break_ := range map[string]grpc.StreamClientInterceptor{
		"unknown": func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
			return nil, status.Error(codes.Unimplemented, "no streams here")
		},
		"cut": func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
			return nil, status.Error(codes.Unavailable, "502 Bad Gateway")
		},
		"swallowed": func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, _ grpc.Streamer, _ ...grpc.CallOption) (grpc.ClientStream, error) {
			return &silent{ctx: ctx}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := tokenbrokertest.New(t)
				broker.Rotate("shop") // lives for two hours
				c := broker.Client(tokenbroker.WithDialOptions(grpc.WithStreamInterceptor(break_)))
				must(t, c)
				for version := int64(2); version < 100; version++ {
					broker.Rotate("shop")
					time.Sleep(30*time.Second + 1)
					if got := must(t, c); got.Version() != version {
						t.Fatalf("got %v, want version %d", got, version)
					}
				}
				if n := broker.Calls("shop"); n > 2*100+20 {
					t.Errorf("polled %d times in 50 minutes", n)
				}
			})
		})
	}
}

// silent is a stream that brings nothing.
type silent struct {
	grpc.ClientStream
	ctx context.Context
}

func (*silent) SendMsg(any) error { return nil }
func (*silent) CloseSend() error  { return nil }
func (s *silent) RecvMsg(any) error {
	<-s.ctx.Done()
	return s.ctx.Err()
}

func TestABrokerThatRefusesIsNotPestered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Expire("shop")
		c := broker.Client()
		for range 100 { // callers
			go func() { _, _ = c.Token(t.Context(), "shop") }()
		}
		time.Sleep(time.Minute)
		if n := broker.Calls("shop"); n > 3*60 { // each attempt is up to three calls
			t.Errorf("called %d times in a minute", n)
		}
	})
}

func TestATokenThatIsTakenOutIsServedToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		must(t, c)
		broker.Remove("shop")
		time.Sleep(time.Hour - 1)
		must(t, c)
		time.Sleep(time.Nanosecond)
		if _, err := c.Token(t.Context(), "shop"); status.Code(err) != codes.NotFound {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute)
		if names := c.Names(); len(names) > 0 {
			t.Errorf("still follows %q", names)
		}
	})
}

// What the monotonic clock did not count may have been slept through.
func TestATokenDoesNotOutliveASuspendOfTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		held := must(t, c)
		broker.Fail(status.Error(codes.Unavailable, "away"))
		c.BendWall(func() time.Time { return time.Now().Add(time.Hour) })
		time.Sleep(time.Second + 1)
		if held.State() == tokenbroker.Active {
			t.Errorf("%v still lives for %v", held, held.TTL())
		}
		if got, err := tryToken(t, c); err == nil {
			t.Errorf("got %v", got)
		}
	})
}

func TestAWallClockThatIsSetBackProlongsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		held := must(t, c)
		c.BendWall(func() time.Time { return time.Now().Add(-time.Hour) })
		broker.Fail(status.Error(codes.Unavailable, "away"))
		time.Sleep(time.Hour)
		if held.State() != tokenbroker.Expired {
			t.Errorf("%v still lives for %v", held, held.TTL())
		}
	})
}

func TestWatchTellsOfStatesAndReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var seen []string
		for token, err := range broker.Client().Watch(ctx, "shop") {
			refused := &tokenbroker.Error{}
			switch {
			case errors.As(err, &refused):
				seen = append(seen, refused.Reason)
				broker.Set("shop", "two", time.Hour)
			case err != nil:
				seen = append(seen, err.Error())
			default:
				seen = append(seen, token.Value()+" "+token.State().String())
				if token.Version() == 2 {
					cancel()
				}
			}
		}
		want := []string{"one active", "EXPIRED", "two active", "context canceled"}
		if len(seen) != len(want) || seen[0] != want[0] || seen[1] != want[1] || seen[2] != want[2] || seen[3] != want[3] {
			t.Errorf("saw %q, want %q", seen, want)
		}
	})
}

// A connection does not allow more than so many calls at once.
func TestMoreTokensThanStreamsAreKeptFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		c := broker.Client()
		const names = 600
		name := func(i int) string { return fmt.Sprint("shop-", i) }
		for i := range names {
			broker.Rotate(name(i))
			if _, err := c.Token(t.Context(), name(i)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for i := range names {
			broker.Rotate(name(i))
		}
		pushed := 0
		count := func() (newest int) {
			synctest.Wait()
			for i := range names {
				if got, err := c.Token(t.Context(), name(i)); err == nil && got.Version() == 2 {
					newest++
				}
			}
			return newest
		}
		if pushed = count(); pushed != 512 {
			t.Errorf("%d tokens were pushed", pushed)
		}
		time.Sleep(30 * time.Second)
		if polled := count(); polled != names {
			t.Errorf("%d tokens are fresh after half a minute", polled)
		}
	})
}
