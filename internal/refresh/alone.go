package refresh

import (
	"context"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// How a replica that is cut off goes alone.
const (
	// cutOffAfter is how long the replica must have been without a proof that its view is current.
	cutOffAfter = 10 * time.Second
	// shortestLook and longestLook bound the time between two looks.
	shortestLook = time.Second
	longestLook  = time.Minute
	// aloneSpacing is the least time between two fetches; less where a token's whole life is less than ten of it.
	aloneSpacing = time.Minute
)

// Own is the replica's own view of the token.
type Own interface {
	// Age returns how long ago the view was last proved current; false if it never was, or the clock jumped since.
	Age() (time.Duration, bool)
	// Held returns the record that the replica serves, and what is left until its nominal end.
	Held() (token.Record, time.Duration)
	// ServeLocal makes the replica serve a value whose request was written at wrote, and returns the version under which it does. It
	// returns false if it does not. source is the Traits.Source of the upstream that was asked.
	ServeLocal(source string, value token.Secret, wrote clock.Reading, life time.Duration) (int64, bool)
}

// RunAlone fetches for this replica only, while it is cut off from the store and its token is missing or near its end, until ctx ends.
// It returns nil. On a rotating upstream it returns at once: there a fetch would end the life of what others serve. See "Alone" in the
// package documentation.
func (r *Refresher) RunAlone(ctx context.Context, own Own) error {
	if r.traits.Rotating {
		return nil
	}
	a := alone{Refresher: r, own: own, jitter: r.cfg.Jitter()}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			if a.wait() <= 0 {
				a.fetch(ctx)
			}
			timer.Reset(min(max(a.wait(), shortestLook), longestLook))
		}
	}
}

// alone is what a Refresher remembers of its fetches alone. One goroutine owns it.
type alone struct {
	*Refresher
	own Own

	jitter   float64       // in [0, 1), constant: where in the last stretch of a life this replica fetches
	lost     clock.Instant // when it was first seen that nothing proves the view current; 0 if something does
	retryAt  clock.Instant // no fetch before
	failures int           // in a row
	spent    token.Spending
	told     bool // that the budget is spent
}

// wait returns how long it takes until a fetch can be due, if nothing changes; nothing or less if one is due now.
func (a *alone) wait() time.Duration {
	now := a.cfg.Clock.Read()
	wait := max(a.untilCutOff(now.At), a.retryAt.Sub(now.At))
	rec, left := a.own.Held()
	if a.good(rec) {
		wait = max(wait, left-a.ahead(rec))
	}
	if wait > 0 {
		return wait
	}
	a.spent = a.spent.On(now.Wall, a.traits.Calendar)
	spare := a.spent.Fetches < max(a.policy.Reserve, 1)
	if !spare && !a.told {
		a.log.Error("cut off from etcd, and the fetches that a replica may make alone in a day are spent",
			"fetches", a.spent.Fetches, "remedy", "see that etcd has a quorum and that this replica reaches it")
	}
	if a.told = !spare; a.told {
		return longestLook
	}
	return 0
}

// good reports whether a record's value needs no other, but for its end.
func (a *alone) good(rec token.Record) bool {
	forced := rec.Pending != nil && rec.Pending.Forced
	return !rec.Value.IsZero() && rec.Source == a.traits.Source && !rec.Condemned && !rec.Doubt && !forced
}

// untilCutOff returns how long it takes until the view has gone without a proof for cutOffAfter.
func (a *alone) untilCutOff(now clock.Instant) time.Duration {
	if age, ok := a.own.Age(); ok {
		a.lost = 0
		return cutOffAfter - age
	}
	if a.lost == 0 {
		a.lost = max(now, 1)
	}
	return cutOffAfter - now.Sub(a.lost)
}

// ahead is the remaining life at which this replica fetches: later than a leader would, who may be alive and only out of reach, and
// spread over half of that stretch, so that replicas which are all cut off do not fetch together, and time is left for another try.
func (a *alone) ahead(rec token.Record) time.Duration {
	return time.Duration(float64(min(a.policy.Ahead, rec.Life*3/4)) * (1 - a.jitter/2) * 9 / 10)
}

// fetch makes one ordinary fetch, and serves what it brings.
func (a *alone) fetch(ctx context.Context) {
	began := a.cfg.Clock.Now()
	a.spent.Fetches++
	a.log.Warn("cut off from etcd, and the token is missing or near its end: fetching for this replica alone")
	ctx, cancel := context.WithTimeout(ctx, a.timing.F)
	defer cancel()
	f := a.ask(ctx, false, func(clock.Reading) error { return ctx.Err() })
	var version int64
	if f.failure == nil {
		var served bool
		if version, served = a.own.ServeLocal(a.traits.Source, f.grant.Value, f.wrote, f.grant.Life); !served {
			f.failure = &token.Failure{
				Outcome: token.OutcomeNone, Class: token.Transient, Code: "unchanged",
				Meaning: "what the upstream answered is known to be dead, or the store or the clock went on meanwhile",
			}
		}
	}
	if !f.written() {
		a.spent.Fetches-- // the upstream never saw it
	}
	a.note(version, f.grant.Life, f.done.At.Sub(began), f.failure)
	wait := min(aloneSpacing, a.traits.MaxLife/10)
	if f.failure == nil {
		a.failures = 0
	} else {
		a.failures++
		rec, left := a.own.Held()
		wait = max(wait, backOff(*f.failure, a.failures, left, a.cfg.Jitter()))
		if rec.Condemned && rec.Value == f.grant.Value {
			wait = max(wait, left-a.policy.Ahead) // the upstream gives no other before its last minutes
		}
	}
	a.retryAt = f.done.At.Add(wait + time.Duration(a.cfg.Jitter()*float64(wait/4)))
}
