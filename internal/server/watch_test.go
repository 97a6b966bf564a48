package server_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/server"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// reader is the stream of one WatchToken call. While it is stalled, Send blocks, as it does for a reader who does not read.
type reader struct {
	grpc.ServerStreamingServer[tokenbrokerv1.WatchTokenResponse]
	context func() context.Context
	stall   chan struct{} // holds one element while the stream may send

	mu   sync.Mutex
	got  []*tokenbrokerv1.Token
	when []time.Duration // since the stream began
	from time.Time
}

func newReader(ctx func() context.Context) *reader {
	r := &reader{context: ctx, stall: make(chan struct{}, 1), from: time.Now()}
	r.stall <- struct{}{}
	return r
}

func (r *reader) Context() context.Context { return r.context() }

func (r *reader) Send(m *tokenbrokerv1.WatchTokenResponse) error {
	<-r.stall
	defer func() { r.stall <- struct{}{} }()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, m.GetToken())
	r.when = append(r.when, time.Since(r.from))
	return nil
}

// all returns what was sent so far, after everyone in the bubble has come to rest.
func (r *reader) all() []*tokenbrokerv1.Token {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

// watch begins a stream that ends with the test at the latest. The error is sent when it ends.
func (w *world) watch(name string) (*reader, <-chan error) {
	r := newReader(w.tb.Context)
	ended := make(chan error, 1)
	go func() { ended <- w.server.WatchToken(&tokenbrokerv1.WatchTokenRequest{Name: name}, r) }()
	return r, ended
}

func TestWatchSendsTheCurrentTokenFirstAndThenEachVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		r, _ := w.watch(stable)
		for version := range int64(3) {
			got := r.all()
			if int64(len(got)) != version+1 {
				t.Fatalf("%d messages after version %d", len(got), version+1)
			}
			last := got[version]
			if last.GetVersion() != version+1 || last.GetState() != active || last.GetAccessToken() != value(stable, version+1) {
				t.Fatalf("message is %v", last)
			}
			time.Sleep(time.Minute)
			w.commit(stable, time.Hour)
		}
	})
}

func TestWatchIsSilentUntilThereIsAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, _ := w.watch(stable)
		w.begin(stable)
		time.Sleep(time.Hour)
		if got := r.all(); len(got) != 0 {
			t.Fatalf("sent %v", got)
		}
		w.commit(stable, time.Hour)
		if got := r.all(); len(got) != 1 {
			t.Fatalf("sent %v", got)
		}
	})
}

func TestWatchTellsTheMomentAtWhichAPromiseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(classic, time.Hour)
		w.prove()
		time.Sleep(1500 * time.Millisecond)
		r, _ := w.watch(classic)
		time.Sleep(3 * time.Hour)
		got := r.all()
		if len(got) != 3 || got[0].GetState() != active || got[1].GetState() != suspect || got[2].GetState() != expired {
			t.Fatalf("sent %v", got)
		}
		if r.when[1] != window-1500*time.Millisecond || r.when[2] != time.Hour-1500*time.Millisecond {
			t.Errorf("told after %v", r.when)
		}
		if got[1].GetAccessToken() != value(classic, 1) || got[2].GetAccessToken() != "" {
			t.Errorf("a suspect token is handed out, an expired one is not: sent %v", got)
		}
		w.prove()
		w.commit(classic, time.Hour)
		if got := r.all(); len(got) != 4 || got[3].GetVersion() != 2 || got[3].GetState() != active {
			t.Errorf("after the end of a silence: sent %v", got)
		}
	})
}

func TestWatchTellsNothingOfRenewalsThatChangeNoState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(classic, time.Hour)
		w.prove()
		r, _ := w.watch(classic)
		for range 600 {
			time.Sleep(time.Second)
			w.prove()
		}
		if got := r.all(); len(got) != 1 {
			t.Fatalf("sent %d messages", len(got))
		}
	})
}

func TestWatchTellsOfAPromiseThatAClockJumpEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept time.Duration // by the wall clock, unnoticed by the monotonic one
		var mu sync.Mutex
		base := time.Now()
		clk := clock.FromSource(func() (time.Duration, time.Time) {
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			return now.Sub(base), now.Add(slept)
		})
		w := newBlankWorld(t, clk, server.Config{})
		w.load()
		w.commit(classic, time.Hour)
		w.prove()
		r, _ := w.watch(classic)
		synctest.Wait()
		mu.Lock()
		slept = 10 * time.Minute
		mu.Unlock()
		time.Sleep(5 * time.Second)
		if got := r.all(); len(got) != 2 || got[1].GetState() != suspect {
			t.Fatalf("sent %v", got)
		}
		w.prove()
		if got := r.all(); len(got) != 3 || got[2].GetState() != active {
			t.Fatalf("sent %v", got)
		}
	})
}

func TestSlowReaderGetsOnlyTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		r, _ := w.watch(stable)
		r.all()
		<-r.stall
		for range 100 {
			w.commit(stable, time.Hour)
			synctest.Wait()
		}
		time.Sleep(10 * time.Minute)
		r.stall <- struct{}{}
		got := r.all()
		if len(got) != 3 || got[1].GetVersion() != 2 || got[2].GetVersion() != 101 {
			t.Fatalf("sent %v", got)
		}
		if ttl := got[2].GetTtl().AsDuration(); ttl != 50*time.Minute {
			t.Errorf("the newest was sent with the ttl of an earlier moment, %v", ttl)
		}
	})
}

func TestWatchEndsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		r := newReader(func() context.Context { return ctx })
		time.AfterFunc(time.Minute, cancel)
		if err := w.server.WatchToken(&tokenbrokerv1.WatchTokenRequest{Name: stable}, r); err == nil || time.Since(r.from) != time.Minute {
			t.Fatalf("ended after %v with %v", time.Since(r.from), err)
		}
	})
}

func TestWatchOfATokenThatIsNotConfiguredEndsNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		_, ended := w.watch("other")
		refused(t, <-ended, codes.NotFound, "")
		_, ended = w.watch("Other")
		refused(t, <-ended, codes.InvalidArgument, "")
		_, ended = w.watch(stable)
		synctest.Wait()
		if err := w.view.Configure(specs()[1:]); err != nil {
			t.Fatal(err)
		}
		refused(t, <-ended, codes.NotFound, "")
	})
}

func TestWatchOutlivesANewUpstreamAndNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		w.commit(stable, time.Hour)
		r, _ := w.watch(stable)
		synctest.Wait()
		changed := specs()
		changed[0].Traits.MaxLife = time.Hour
		if err := w.view.Configure(changed); err != nil {
			t.Fatal(err)
		}
		if got := r.all(); len(got) != 1 {
			t.Fatalf("while the record was still to come: sent %v", got[1:])
		}
		w.load()
		w.commit(stable, time.Hour)
		if got := r.all(); len(got) != 2 || got[1].GetVersion() != 3 {
			t.Fatalf("sent %v", got)
		}
	})
}
