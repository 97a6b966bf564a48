package leader_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/leader"
)

const (
	// ttl is the shortest allowed: for tests that wait for leases to run out. All others have one of ample, so that a machine that
	// stands still for a moment does not end a lead.
	ttl      = 2 * time.Second
	ample    = 10 * time.Second
	prefix   = "/election"
	patience = 20 * time.Second // for what must happen, on however slow a machine
)

// player runs one Elector and hands each of its leads to the test.
type player struct {
	*leader.Elector
	leads chan *lead
	stop  context.CancelCauseFunc
	done  chan struct{} // closed when Run has returned
}

// lead is one call of lead. It returns when its context ends or the test says so; a lingering one only when the test says so.
type lead struct {
	ctx          context.Context //nolint:containedctx // the test looks at the context that lead was called with
	term         leader.Term
	began, ended time.Time
	over         chan struct{} // closed when ctx has ended, after ended is set
	leave        chan error
}

// play starts a player. It ends with the test.
func play(t *testing.T, client *clientv3.Client, cfg leader.Config) *player {
	t.Helper()
	return start(t, client, cfg, false)
}

// linger starts a player whose leads outlive their contexts.
func linger(t *testing.T, client *clientv3.Client, cfg leader.Config) *player {
	t.Helper()
	return start(t, client, cfg, true)
}

var errTestOver = errors.New("the test is over")

func start(t *testing.T, client *clientv3.Client, cfg leader.Config, lingers bool) *player {
	t.Helper()
	if cfg.Prefix == "" {
		cfg.Prefix = prefix
	}
	if cfg.TTL == 0 {
		cfg.TTL = ample
	}
	e, err := leader.New(client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	p := &player{Elector: e, leads: make(chan *lead, 1000), stop: stop, done: make(chan struct{})}
	over := make(chan struct{})
	go func() {
		defer close(p.done)
		if err := e.Run(ctx, func(ctx context.Context, term leader.Term) error {
			l := &lead{ctx: ctx, term: term, began: time.Now(), over: make(chan struct{}), leave: make(chan error, 1)}
			context.AfterFunc(ctx, func() {
				l.ended = time.Now()
				close(l.over)
			})
			p.leads <- l
			ended := ctx.Done()
			if lingers {
				ended = over
			}
			select {
			case err := <-l.leave:
				return err
			case <-ended:
				return nil
			}
		}); err != nil {
			t.Errorf("Run returned %v", err)
		}
	}()
	t.Cleanup(func() {
		close(over)
		stop(errTestOver)
		<-p.done
	})
	return p
}

// next waits for the player's next lead.
func (p *player) next(t *testing.T) *lead {
	t.Helper()
	select {
	case l := <-p.leads:
		return l
	case <-time.After(patience):
		t.Fatal("the player never led")
		return nil
	}
}

// none checks that the player has not led again.
func (p *player) none(t *testing.T) {
	t.Helper()
	select {
	case l := <-p.leads:
		t.Fatalf("the player led in term %d", l.term.Revision)
	default:
	}
}

// ends waits for the end of the lead's context.
func (l *lead) ends(t *testing.T) {
	t.Helper()
	select {
	case <-l.over:
	case <-time.After(patience):
		t.Fatal("the lead did not end")
	}
}

// lost waits for the end of the lead's context, and checks the cause.
func (l *lead) lost(t *testing.T, cause error) {
	t.Helper()
	l.ends(t)
	if got := context.Cause(l.ctx); !errors.Is(got, cause) {
		t.Fatalf("the lead ended with cause %v, want %v", got, cause)
	}
}

// lasts checks that the lead goes on for d.
func (l *lead) lasts(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-l.ctx.Done():
		t.Fatalf("the lead ended: %v", context.Cause(l.ctx))
	case <-time.After(d):
	}
}

// watched is what happened to a key, seen by a client whose connection nothing disturbs.
type watched struct {
	deleted chan struct{} // closed at the deletion
	at      time.Time     // of it
}

// watchKey watches a term's key.
func watchKey(t *testing.T, direct *clientv3.Client, term leader.Term) *watched {
	t.Helper()
	w := &watched{deleted: make(chan struct{})}
	events := direct.Watch(t.Context(), term.Key, clientv3.WithRev(term.Revision+1), clientv3.WithFilterPut())
	var watching sync.WaitGroup
	watching.Go(func() {
		for r := range events {
			if len(r.Events) > 0 {
				w.at = time.Now()
				close(w.deleted)
				return
			}
		}
	})
	t.Cleanup(watching.Wait)
	return w
}

func (w *watched) wait(t *testing.T) time.Time {
	t.Helper()
	select {
	case <-w.deleted:
		return w.at
	case <-time.After(patience):
		t.Fatal("the key was never deleted")
		return time.Time{}
	}
}

// queued waits until n candidates stand in the election, and returns their keys in order.
func queued(t *testing.T, client *clientv3.Client, n int) []string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		r, err := client.Get(t.Context(), prefix+"/", clientv3.WithPrefix(),
			clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Kvs) == n {
			keys := make([]string, n)
			for i, kv := range r.Kvs {
				keys[i] = string(kv.Key)
			}
			return keys
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d candidates stand, want %d", len(r.Kvs), n)
		}
		<-time.After(5 * time.Millisecond)
	}
}
