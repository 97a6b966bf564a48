package main

import (
	"context"
	"sync"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// loners lets each refresher look after this replica alone, for when it is cut off from etcd. One runs for each configured token,
// whether or not this replica leads.
type loners struct {
	catalog *catalog
	view    *view.View
}

// run blocks until ctx has ended and all fetches have. It returns nil.
func (l loners) run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	stops := map[*refresh.Refresher]context.CancelFunc{}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for {
		present, reloaded := l.catalog.refreshers()
		wanted := map[*refresh.Refresher]bool{}
		for name, r := range present {
			wanted[r] = true
			if stops[r] == nil {
				alone, stop := context.WithCancel(ctx)
				stops[r] = stop
				running.Go(func() { _ = r.RunAlone(alone, own{l.view, name}) }) // it returns nil
			}
		}
		for r, stop := range stops {
			if !wanted[r] {
				stop()
				delete(stops, r)
			}
		}
		select {
		case <-reloaded:
		case <-ctx.Done():
			return nil
		}
	}
}

// own is one token in the replica's view, as refresh.Own wants it. It looks the token up each time: see lives.
type own struct {
	view *view.View
	name string
}

// Age implements refresh.Own.
func (o own) Age() (time.Duration, bool) { return o.view.Age() }

// Held implements refresh.Own.
func (o own) Held() (token.Record, time.Duration) {
	t := o.view.Token(o.name)
	if t == nil {
		return token.Record{}, 0
	}
	r := t.Read()
	return *r.Record, r.Nominal
}

// ServeLocal implements refresh.Own.
func (o own) ServeLocal(source string, value token.Secret, wrote clock.Reading, life time.Duration) (int64, bool) {
	t := o.view.Token(o.name)
	if t == nil {
		return 0, false
	}
	return t.ServeLocal(source, value, wrote, life)
}
