package server_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// The quiet waits of the classic token: while promises on it are to be protected, and otherwise.
const settled = 5*time.Second + time.Minute + time.Minute // G + P + D

// newQuietWorld returns a world whose leader has led for an hour, and fetched version 2 of both tokens at its end.
func newQuietWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.votes.elect(candidate("b", 3))
	w.timing = token.TimingFor(overlap)
	for _, name := range []string{stable, classic} {
		w.plans[name] = server.Plan{Next: time.Now().Add(2 * time.Hour), Reason: "ahead of expiry"}
		w.commit(name, 2*time.Hour)
	}
	time.Sleep(time.Hour)
	w.prove()
	w.commit(stable, 2*time.Hour)
	w.commit(classic, 2*time.Hour)
	return w
}

// quiet returns how long status says that a token is left in peace, and when the next fetch is due.
func (w *world) quiet(name string) (quiet, next time.Duration) {
	w.tb.Helper()
	for _, t := range w.status().GetTokens() {
		if t.GetName() == name {
			if t.GetQuietUntil() != nil {
				quiet = time.Until(t.GetQuietUntil().AsTime())
			}
			return quiet, time.Until(t.GetNextRefreshTime().AsTime())
		}
	}
	w.tb.Fatalf("no token %q", name)
	return 0, 0
}

func TestStatusTellsTheQuietWaitThatTheRecordTells(t *testing.T) {
	now := func(change func(*token.Record)) func(*world) {
		return func(w *world) { w.write(classic, change) }
	}
	intent := func(forced bool) *token.Intent { return &token.Intent{Attempt: "x", At: time.Now(), Forced: forced} }
	for name, test := range map[string]struct {
		happens func(*world)
		token   string
		want    time.Duration
	}{
		"a classic token was fetched":            {func(*world) {}, classic, window},
		"a stable token was fetched":             {func(*world) {}, stable, 0},
		"that is over":                           {func(w *world) { time.Sleep(window); w.prove() }, classic, 0},
		"another leads":                          {func(w *world) { time.Sleep(time.Minute); w.prove(); w.votes.elect(candidate("c", 5)) }, classic, window},
		"nobody leads":                           {func(w *world) { w.votes.elect() }, classic, 0},
		"it is cut off":                          {func(*world) { time.Sleep(view.DefaultSyncWindow) }, classic, 0},
		"an attempt is open":                     {func(w *world) { time.Sleep(time.Minute); w.prove(); w.begin(classic) }, classic, window},
		"it is in doubt, and nobody promises it": {now(func(r *token.Record) { r.Pending, r.Doubt, r.Drained = intent(false), true, true }), classic, settled},
		"it is known to be dead":                 {now(func(r *token.Record) { r.Condemned = true }), classic, window}, // for the sake of its predecessor
		"the clock of the leader is ahead":       {now(func(r *token.Record) { r.IssuedAt = time.Now().Add(time.Hour) }), classic, window},
		"a forced attempt is open":               {func(w *world) { w.write(stable, func(r *token.Record) { r.Pending = intent(true) }) }, stable, settled},
		"the store may have lost a forced one":   {func(w *world) { w.write(stable, func(r *token.Record) { r.Doubt = true }) }, stable, settled},
		"an attempt is known to have failed": {now(func(r *token.Record) {
			r.Resolved, r.Failures = token.Resolution{Attempt: "x", Outcome: token.OutcomeNone}, 1
			r.LastFailure = token.Failure{Class: token.Address, At: time.Now()}
		}), classic, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newQuietWorld(t)
				test.happens(w)
				got, next := w.quiet(test.token)
				if got != test.want {
					t.Errorf("quiet for %v, want %v", got, test.want)
				}
				if next < test.want {
					t.Errorf("the next fetch is said to be in %v, within the quiet wait", next)
				}
			})
		})
	}
}

func TestTheFirstTokenHasNoPredecessorToWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.votes.elect(candidate("b", 3))
		w.plans[classic] = server.Plan{Next: time.Now(), Reason: "no token"}
		w.timing = token.TimingFor(overlap)
		if quiet, next := w.quiet(classic); quiet != 0 || next != 0 {
			t.Errorf("nothing was ever fetched: quiet for %v, the next fetch in %v", quiet, next)
		}
		w.commit(classic, time.Hour)
		w.write(classic, func(rec *token.Record) { rec.Condemned = true })
		if quiet, next := w.quiet(classic); quiet != settled || next != settled {
			t.Errorf("the first one is dead: quiet for %v, the next fetch in %v; want %v", quiet, next, settled)
		}
	})
}

func TestCallersAreNotAskedToComeBackBeforeAFetchMayBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQuietWorld(t)
		time.Sleep(time.Minute)
		w.prove()
		w.write(classic, func(rec *token.Record) { rec.Condemned = true })
		_, _, err := w.get(t.Context(), classic, 0)
		_, retry := refused(t, err, codes.Unavailable, server.ReasonCondemned)
		if left := window - time.Minute - time.Second; retry < left || retry > left+3*time.Second {
			t.Errorf("come back in %v, and %v are left of the quiet wait", retry, left)
		}
		if !strings.Contains(err.Error(), "no fetch begins before ") || !strings.Contains(err.Error(), "(in 2m59s)") {
			t.Errorf("error is %q", err)
		}
		w.begin(classic) // its outcome may be there at any moment
		_, _, err = w.get(t.Context(), classic, 0)
		if _, retry := refused(t, err, codes.Unavailable, server.ReasonCondemned); retry > 2*time.Second {
			t.Errorf("a fetch is under way: come back in %v", retry)
		}
	})
}

func TestAnOrderThatWaitsInPeaceIsToldUntilWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQuietWorld(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := w.refresh(ctx, classic, false)
		refused(t, err, codes.DeadlineExceeded, server.ReasonUnsettled)
		if !strings.Contains(err.Error(), "no fetch begins before ") || !strings.Contains(err.Error(), "(in 3m55s): look again then") {
			t.Errorf("error is %q", err)
		}
		time.Sleep(time.Minute)
	})
}

func TestACutOffReplicaRefusesOrdersAtOnceAndSaysWhatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQuietWorld(t)
		time.Sleep(37 * time.Second)
		began := time.Now()
		_, err := w.refresh(t.Context(), stable, true)
		refused(t, err, codes.Unavailable, server.ReasonStoreAway)
		if !strings.Contains(err.Error(), "has been cut off from etcd since ") || !strings.Contains(err.Error(), "(for 37s)") {
			t.Errorf("error is %q", err)
		}
		w.write(classic, func(rec *token.Record) { rec.Condemned = true })
		_, _, err = w.get(t.Context(), classic, 0)
		if _, retry := refused(t, err, codes.Unavailable, server.ReasonCondemned); retry > 2*time.Second {
			t.Errorf("another replica may know more, and this one says: come back in %v", retry)
		}
		if !strings.Contains(err.Error(), "has been cut off from etcd since ") || !strings.Contains(err.Error(), ": ask another") {
			t.Errorf("error is %q", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v to say so", took)
		}
		if q := w.leader.questions(); len(q) != 0 {
			t.Errorf("asked %+v", q)
		}
	})
}
