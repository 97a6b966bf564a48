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
	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

func TestMoreLifeThanIsHeldIsAskedForAndHeldForEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", 4*time.Minute)
		c := broker.Client()
		must(t, c)
		synctest.Wait()
		calls := broker.Calls("shop")
		if got, err := c.TokenFor(t.Context(), "shop", 3*time.Minute); err != nil || got.Value() != "one" || broker.Calls("shop") != calls {
			t.Errorf("what is held would do: %v, %v after %d calls", got, err, broker.Calls("shop")-calls)
		}
		time.Sleep(time.Minute)
		broker.Set("shop", "one", 4*time.Minute) // without a message
		if got, err := c.TokenFor(t.Context(), "shop", 4*time.Minute-time.Second); err != nil || got.TTL() < 4*time.Minute-time.Second {
			t.Errorf("got %v for %v, %v", got, got.TTL(), err)
		}
		if ttl := must(t, c).TTL(); ttl < 4*time.Minute-time.Second {
			t.Errorf("another caller is promised %v", ttl)
		}
	})
}

func TestALifeThatTheBrokerDoesNotGrantIsItsRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := tokenbrokertest.New(t)
		broker.Set("shop", "one", 4*time.Minute)
		c := broker.Client()
		refused := &tokenbroker.Error{}
		if got, err := c.TokenFor(t.Context(), "shop", time.Hour); !errors.As(err, &refused) || refused.Code != codes.DeadlineExceeded {
			t.Errorf("got %v, %v", got, err)
		}
		if got, err := c.TokenFor(t.Context(), "nobody", time.Hour); status.Code(err) != codes.NotFound {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestAReplicaThatLagsBehindIsNoAnswerToTheWishForMoreLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		ahead, behind := c.replicas[0], c.replicas[1]
		c.set(1, 100*time.Hour, ahead, behind)
		c.set(2, time.Minute, ahead)
		behind.Fail(status.Error(codes.Unavailable, "away"))
		client := c.client()
		must(t, client)
		behind.Fail(nil)
		synctest.Wait() // it is connected to both
		calls := behind.Calls("shop")
		for life := 2 * time.Hour; life < 10*time.Hour; life += time.Hour {
			c.set(2, life, ahead)
			got, err := client.TokenFor(t.Context(), "shop", life-time.Minute)
			if err != nil || got.Version() != 2 || got.TTL() < life-time.Minute {
				t.Fatalf("got %v, %v", got, err)
			}
			c.judge(got)
		}
		if behind.Calls("shop") == calls {
			t.Error("the replica was not asked")
		}
	})
}

func TestTheWishForMoreLifeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.set(1, time.Minute, c.replicas...)
		client := c.client()
		must(t, client)
		c.network.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := client.TokenFor(ctx, "shop", time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", got, err)
		}
		began := time.Now()
		if got, err := client.TokenFor(t.Context(), "shop", time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > tokenbroker.DefaultPatience {
			t.Errorf("without a deadline: %v, %v after %v", got, err, time.Since(began))
		}
	})
}

func TestAfterCloseEverythingSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.set(1, time.Minute, c.replicas...)
		client := c.client()
		token := must(t, client)
		asked := map[string]func() error{
			"Token":          func() error { _, err := client.Token(t.Context(), "shop"); return err },
			"TokenFor":       func() error { _, err := client.TokenFor(t.Context(), "shop", time.Hour); return err },
			"Invalid":        func() error { _, err := client.Invalid(t.Context(), token); return err },
			"InvalidVersion": func() error { _, err := client.InvalidVersion(t.Context(), "shop", 7); return err },
			"List":           func() error { _, err := client.List(t.Context()); return err },
			"Watch": func() (last error) {
				for _, err := range client.Watch(t.Context(), "shop") {
					last = err
				}
				return last
			},
		}
		c.network.Hold(netfault.Both) // so that what is asked before is under way then
		under := map[string]chan error{}
		for name, ask := range asked {
			if name != "Token" { // which is there
				end := make(chan error, 1)
				go func() { end <- ask() }()
				under[name] = end
			}
		}
		synctest.Wait()
		_ = client.Close()
		for name, end := range under {
			if err := <-end; !errors.Is(err, tokenbroker.ErrClosed) {
				t.Errorf("%s that was under way: %v", name, err)
			}
		}
		for name, ask := range asked {
			if err := ask(); !errors.Is(err, tokenbroker.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
