package tokenbroker_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

// A message that lay on the way for long tells of a life that is over.
func TestAMessageThatWasDelayedProlongsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.set(1, time.Hour, c.replicas...)
		client := c.client()
		c.judge(must(t, client))
		synctest.Wait() // the stream is open
		c.network.Hold(netfault.ToClient)
		c.set(2, 20*time.Second, c.replicas...) // the message is sent now
		time.Sleep(19 * time.Second)
		c.network.Heal()
		synctest.Wait()
		if got := must(t, client); got.Version() != 2 || got.State() != tokenbroker.Active {
			t.Errorf("the message told of nothing: %v", got)
		}
		c.judge(must(t, client))
		c.replicas[0].Fail(status.Error(codes.Unavailable, "away"))
		held := must(t, client)
		time.Sleep(time.Second)
		if held.State() == tokenbroker.Active || held.TTL() > 0 {
			t.Errorf("%v still lives, for %v", held, held.TTL())
		}
	})
}

// The same for an answer: its token lives since before the request was sent, not since it arrived.
func TestAnAnswerThatWasDelayedCountsFromItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.set(1, 20*time.Second, c.replicas...)
		client := c.client()
		first := must(t, client)
		calls := c.replicas[0].Calls("shop")
		time.Sleep(9 * time.Second)
		c.network.Hold(netfault.ToClient)
		c.set(1, 20*time.Second, c.replicas...)
		time.Sleep(4 * time.Second) // meanwhile half of the first life is over, and the next is asked for
		if c.replicas[0].Calls("shop") == calls {
			t.Fatal("the token was not asked for")
		}
		c.network.Heal()
		synctest.Wait()
		renewed := must(t, client)
		if renewed.TTL() <= first.TTL() {
			t.Fatal("the answer told of nothing")
		}
		c.judge(renewed)
	})
}

func TestNoTokenIsEverBelievedInForTooLong(t *testing.T) {
	for range 3 {
		seed := rand.Uint64()
		synctest.Test(t, func(t *testing.T) {
			t.Logf("seed %d", seed)
			chance := rand.New(rand.NewPCG(seed, 0))
			c := newCluster(t, 3)
			version := int64(1)
			c.set(version, time.Minute, c.replicas...)
			client := c.client()
			last := must(t, client)
			for range 500 {
				time.Sleep(time.Duration(chance.IntN(5000)) * time.Millisecond)
				proxy := c.network[chance.IntN(len(c.network))]
				switch chance.IntN(8) {
				case 0:
					proxy.Hold(netfault.Direction(1 + chance.IntN(3)))
				case 1:
					proxy.Delay(netfault.Direction(1+chance.IntN(3)), time.Duration(chance.IntN(20))*time.Second)
				case 2:
					proxy.Cut()
				case 3, 4:
					proxy.Heal()
				case 5:
					version++
					c.set(version, time.Duration(10+chance.IntN(60))*time.Second, c.replicas...)
				case 6:
					c.set(version, time.Duration(10+chance.IntN(60))*time.Second, c.replicas...)
				case 7:
					c.replicas[chance.IntN(3)].Suspect("shop")
				}
				got, err := tryToken(t, client)
				if err != nil {
					continue
				}
				c.judge(got)
				c.judge(last)
				if got.Version() < last.Version() {
					t.Fatalf("%v after %v", got, last)
				}
				last = got
			}
			c.network.Heal()
			version++
			c.set(version, time.Hour, c.replicas...)
			if got := eventually(t, client, version); got.Value() == "" {
				t.Errorf("got %v", got)
			}
		})
	}
}

// tryToken returns a token if there is one at once.
func tryToken(t *testing.T, c *tokenbroker.Client) (tokenbroker.Token, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	return c.Token(ctx, "shop")
}

// eventually waits for a version.
func eventually(t *testing.T, c *tokenbroker.Client, version int64) tokenbroker.Token {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for token, err := range c.Watch(ctx, "shop") {
		if ctx.Err() != nil {
			t.Fatalf("version %d did not come: %v", version, err)
		}
		if token.Version() == version {
			return token
		}
	}
	return tokenbroker.Token{}
}
