package tokenbroker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

// must returns the token "shop", which is there.
func must(t *testing.T, c *tokenbroker.Client) tokenbroker.Token {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	token, err := c.Token(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestATokenIsAskedForOnceAndThenServedFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", 2*time.Hour)
		c := broker.Client()
		for range 1000 {
			if got := must(t, c); got.Value() != "one" || got.Version() != 1 || got.Name() != "shop" || got.State() != tokenbroker.Active {
				t.Fatalf("got %v", got)
			}
		}
		synctest.Wait()
		if n := broker.Calls("shop"); n != 1 {
			t.Errorf("the broker was called %d times", n)
		}
	})
}

func TestANewVersionArrivesByTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", 2*time.Hour)
		c := broker.Client()
		must(t, c)
		synctest.Wait()
		broker.Set("shop", "two", 2*time.Hour)
		synctest.Wait() // no time passes
		if got := must(t, c); got.Value() != "two" || got.Version() != 2 {
			t.Errorf("got %v", got)
		}
	})
}

func TestLifeIsRenewedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", 4*time.Minute)
		c := broker.Client()
		must(t, c)
		for range 60 { // minutes
			time.Sleep(time.Minute)
			broker.Set("shop", "one", 4*time.Minute) // no new version, so no message
			if got := must(t, c); got.TTL() < time.Minute {
				t.Fatalf("only %v of life left", got.TTL())
			}
		}
	})
}

func TestAHeldTokenIsServedUntilItsEndWhileTheBrokersAreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		must(t, c)
		broker.Fail(status.Error(codes.Unavailable, "away"))
		time.Sleep(time.Hour - time.Nanosecond)
		if got := must(t, c); got.State() != tokenbroker.Active {
			t.Errorf("got %v", got)
		}
		time.Sleep(time.Nanosecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := c.Token(ctx, "shop"); err == nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v after the token's end", got, err)
		}
	})
}

func TestTheBrokersRefusalIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		must(t, c)
		broker.Expire("shop")
		time.Sleep(time.Hour)
		_, err := c.Token(t.Context(), "shop")
		refused := &tokenbroker.Error{}
		if !errors.As(err, &refused) || refused.Reason != "EXPIRED" || refused.RetryAfter != time.Second || status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnUnknownNameIsAnErrorAtOnceAndCostsNothingAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tokenbrokertest.New(t).Client()
		for range 3 {
			if _, err := c.Token(t.Context(), "nobody"); status.Code(err) != codes.NotFound {
				t.Errorf("got %v", err)
			}
		}
		synctest.Wait()
		if names := c.Names(); len(names) > 0 {
			t.Errorf("still follows %q", names)
		}
	})
}

func TestTheFirstTokenIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Expire("shop") // is configured, and was never fetched
		c := broker.Client()
		time.AfterFunc(20*time.Second, func() { broker.Set("shop", "one", time.Hour) })
		begin := time.Now()
		if got := must(t, c); got.Value() != "one" || time.Since(begin) > 21*time.Second { // gRPC may be between two tries
			t.Errorf("got %v after %v", got, time.Since(begin))
		}
	})
}

func TestAReportBringsTheNewerToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		c := broker.Client()
		old := must(t, c)
		for range 2 { // the second answer comes from memory
			next, err := c.Invalid(t.Context(), old)
			if err != nil || next.Version() != 2 {
				t.Fatalf("got %v, %v", next, err)
			}
		}
		if n := broker.Reports("shop"); n != 1 {
			t.Errorf("%d reports", n)
		}
	})
}

func TestWatchYieldsEachVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", time.Hour)
		var versions []int64
		for token, err := range broker.Client().Watch(t.Context(), "shop") {
			if err != nil {
				t.Fatal(err)
			}
			if versions = append(versions, token.Version()); len(versions) == 3 {
				break
			}
			broker.Rotate("shop")
		}
		if versions[0] != 1 || versions[1] != 2 || versions[2] != 3 {
			t.Errorf("got %v", versions)
		}
	})
}

func TestCloseEndsWhoeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Expire("shop")
		c := broker.Client()
		failed := make(chan error)
		go func() {
			_, err := c.Token(t.Context(), "shop")
			failed <- err
		}()
		go func() {
			for _, err := range c.Watch(t.Context(), "shop") {
				if errors.Is(err, tokenbroker.ErrClosed) {
					failed <- err
				}
			}
		}()
		synctest.Wait()
		_ = c.Close()
		for range 2 {
			if err := <-failed; !errors.Is(err, tokenbroker.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := c.Token(t.Context(), "shop"); !errors.Is(err, tokenbroker.ErrClosed) {
			t.Errorf("got %v from a closed client", err)
		}
	})
}
