package refresh_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// page is a ledger with one record, of which one run of a Refresher at a time is the only writer.
type page struct {
	entry  token.Entry
	begins []time.Time
}

func (p *page) Read(context.Context) (token.Entry, error) { return p.entry, nil }

func (p *page) Write(_ context.Context, revision int64, rec token.Record, _ ...string) (int64, error) {
	if revision != p.entry.Revision {
		return 0, token.ErrConflict
	}
	if rec.Pending != nil && (p.entry.Record.Pending == nil || rec.Pending.Attempt != p.entry.Record.Pending.Attempt) {
		p.begins = append(p.begins, time.Now())
	}
	p.entry.Record = rec
	p.entry.Revision++
	return p.entry.Revision, nil
}

func (p *page) Leave(context.Context, token.Orphan) error { return nil }

// source issues a token for each request.
type source struct{ traits token.Traits }

func (s source) Traits() token.Traits { return s.traits }

func (s source) Fetch(_ context.Context, req token.FetchRequest) (token.Grant, error) {
	if err := req.BeforeWrite(); err != nil {
		return token.Grant{}, &token.Failure{Outcome: token.OutcomeNone, Class: token.Transient, Code: "held"}
	}
	req.AfterWrite()
	return token.Grant{Value: token.NewSecret(time.Now().String()), Life: 2 * time.Hour}, nil
}

func (s source) Probe(context.Context, token.Secret) (token.Health, error) { return token.Alive, nil }

// nothingSeen is a view that knows nothing.
type nothingSeen struct{}

func (nothingSeen) NominalEnd(int64) (clock.Instant, bool) { return 0, false }
func (nothingSeen) Version() int64                         { return 0 }
func (nothingSeen) Local() int64                           { return 0 }

// TestATermWhoseNumberIsUsedAgainIsAnother: an etcd that was emptied or restored counts its revisions anew, and so its terms. What another
// leader began meanwhile is waited for.
func TestATermWhoseNumberIsUsedAgainIsAnother(t *testing.T) {
	for name, revision := range map[string]int64{"at a later revision": 100, "at an earlier revision": 3} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { useTermAgain(t, revision) }) })
	}
}

func useTermAgain(t *testing.T, revision int64) {
	const term = 7
	timing := token.TimingFor(5 * time.Minute)
	traits := token.Traits{
		Source: "classic", Rotating: true, Overlap: 5 * time.Minute, MaxLife: 2 * time.Hour, Ahead: timing.LeastAhead(), FetchesPerDay: 2000,
		Calendar: time.UTC,
	}
	r, err := refresh.New(refresh.Config{
		Name: "t", Upstream: source{traits}, Timing: timing, Clock: clock.New(), Logger: slog.New(slog.DiscardHandler), Lives: nothingSeen{},
		Replica: "r", Peers: func() int { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	lead := func(p *page) []time.Time {
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := r.Run(ctx, t.Context(), term, p, refresh.Inbox{}); err != nil {
			t.Fatal(err)
		}
		return p.begins
	}
	first := &page{entry: token.Entry{Revision: 8}}
	if begins := lead(first); len(begins) != 1 {
		t.Fatalf("%d attempts, want 1", len(begins))
	}
	again := &page{entry: token.Entry{Revision: revision, Record: token.Record{
		Version: 1, Doubt: true, Drained: true, Source: traits.Source,
		Pending: &token.Intent{Attempt: "of another leader", Term: term - 2, Source: traits.Source, At: time.Now()},
	}}}
	began := time.Now()
	begins := lead(again)
	if len(begins) == 0 || begins[0].Sub(began) < time.Minute+timing.Settled() {
		t.Errorf("the term began at %v, and attempts at %v, want %v between them at least", began.Add(time.Minute), begins, timing.Settled())
	}
}
