package tokenbroker_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

// road is the way to a broker. It can be blocked.
type road struct {
	broker *tokenbrokertest.Broker

	mu       sync.Mutex
	blocked  func(context.Context) error // nil while it is open
	conns    []net.Conn
	attempts []time.Time
}

func (r *road) dial(ctx context.Context, _ string) (net.Conn, error) {
	r.mu.Lock()
	blocked := r.blocked
	r.attempts = append(r.attempts, time.Now())
	r.mu.Unlock()
	if blocked != nil {
		return nil, blocked(ctx)
	}
	conn, err := r.broker.Dial(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, conn)
	return conn, err
}

// block ends the connections that there are, and has further ones fail like this.
func (r *road) block(how func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocked = how
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

func TestHoweverLongAnOutageItsEndIsNoticedWithinSeconds(t *testing.T) {
	for _, c := range []struct {
		name    string
		blocked func(context.Context) error
		longest time.Duration // between two attempts: 5 s, a fifth of jitter, and as much for the attempt itself where nothing answers
	}{
		{"refused", func(context.Context) error { return errors.New("connection refused") }, 6 * time.Second},
		{"silenced", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 12 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &road{broker: tokenbrokertest.New(t)}
				r.broker.Set("shop", "one", time.Minute)
				client := r.broker.Client(tokenbroker.WithDialOptions(grpc.WithContextDialer(r.dial)))
				must(t, client)
				r.block(c.blocked)
				time.Sleep(time.Hour)
				r.broker.Set("shop", "two", time.Hour)
				r.block(nil)
				began := time.Now()
				must(t, client)
				if took := time.Since(began); took > c.longest+15*time.Second { // the connection, and then the wait until the token is asked for
					t.Errorf("the token came after %v", took)
				}
				for i := 2; i < len(r.attempts); i++ { // the first made the connection that was there
					if gap := r.attempts[i].Sub(r.attempts[i-1]); gap > c.longest {
						t.Fatalf("attempt %d came %v after the one before", i, gap)
					}
				}
				if n := len(r.attempts); n < 300 || n > 1000 {
					t.Errorf("%d attempts in an hour", n)
				}
			})
		})
	}
}
