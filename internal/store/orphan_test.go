package store_test

import (
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

func leave(t *testing.T, l *store.Ledger, o token.Orphan) token.Orphan {
	t.Helper()
	if err := l.Leave(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// granted is the orphan of an attempt that brought a token.
func granted(attempt string) token.Orphan {
	return token.Orphan{
		Attempt: attempt, Outcome: token.OutcomeToken, Value: token.NewSecret("value of " + attempt),
		IssuedAt: time.Now().UTC().Truncate(time.Millisecond), Life: 2 * time.Hour,
	}
}

func TestOrphansAreReadWithTheirRecord(t *testing.T) {
	_, r, fence, l := ledger(t)
	revision := mustWrite(t, l, 0, version(1))
	want := []token.Orphan{
		leave(t, l, granted("a")),
		leave(t, l, token.Orphan{Attempt: "b", Outcome: token.OutcomeNone}),
		leave(t, l, token.Orphan{Attempt: "c", Outcome: token.OutcomeUnknown, Late: true}),
	}
	// Names that begin like this one.
	leave(t, r.Ledger("t.2", fence), granted("d"))
	leave(t, r.Ledger("t-2", fence), granted("e"))

	entry := mustRead(t, l)
	if entry.Revision != revision {
		t.Errorf("the record is at revision %d, want %d: an orphan is no change of it", entry.Revision, revision)
	}
	if d := diff(want, entry.Orphans); d != "" {
		t.Errorf("the orphans that were read (-want +got):\n%s", d)
	}
}

func TestAnOrphanIsLeftByWhoIsDeposed(t *testing.T) {
	client, _, fence, l := ledger(t)
	depose(t, client, fence)
	leave(t, l, granted("a"))
	if got := len(mustRead(t, l).Orphans); got != 1 {
		t.Errorf("%d orphans, want 1", got)
	}
}

func TestAnOrphanHangsOnALeaseOfAnHour(t *testing.T) {
	client, _, _, l := ledger(t)
	leave(t, l, granted("a"))
	kv := find(t, client, prefix+"orphan/t/a")
	if kv == nil || kv.lease == clientv3.NoLease {
		t.Fatalf("the orphan is %+v, want it on a lease", kv)
	}
	lease, err := client.TimeToLive(t.Context(), kv.lease)
	if err != nil || lease.GrantedTTL != 3600 {
		t.Errorf("the orphan lives %d s, error %v, want an hour", lease.GrantedTTL, err)
	}
}

func TestLeavingAnOrphanMovesNoHead(t *testing.T) {
	client, _, _, l := ledger(t)
	mustWrite(t, l, 0, version(1))
	head := find(t, client, prefix+"head").mod
	leave(t, l, granted("a"))
	if got := find(t, client, prefix+"head").mod; got != head {
		t.Error("an orphan moved the head")
	}
}

// An orphan that was left a moment before the write has not been seen: sweeping it away would lose an outcome.
func TestAWriteDeletesTheOrphansThatItNamesAndNoOthers(t *testing.T) {
	client, r, fence, l := ledger(t)
	for _, attempt := range []string{"a", "b", "ab"} {
		leave(t, l, granted(attempt))
	}
	leave(t, r.Ledger("t2", fence), granted("a"))
	revision := mustWrite(t, l, 0, version(1))
	if got := len(mustRead(t, l).Orphans); got != 3 {
		t.Errorf("a write that named no orphan left %d of 3", got)
	}
	revision = mustWrite(t, l, revision, version(2), "a", "never left")
	mustKeys := func(want ...string) {
		t.Helper()
		if d := diff(want, keys(t, client, prefix+"orphan/")); d != "" {
			t.Errorf("the orphans in the store (-want +got):\n%s", d)
		}
	}
	mustKeys("orphan/t/ab", "orphan/t/b", "orphan/t2/a")

	if _, err := l.Write(t.Context(), revision-1, version(3), "b"); !errors.Is(err, token.ErrConflict) {
		t.Fatalf("error %v, want ErrConflict", err)
	}
	mustKeys("orphan/t/ab", "orphan/t/b", "orphan/t2/a") // refused as a whole
	mustWrite(t, l, revision, version(3), "ab", "b")
	mustKeys("orphan/t2/a")
}

// Whatever it was, it may have been the outcome of a request that was written late.
func TestAnOrphanThatCannotBeReadIsTakenForTheWorst(t *testing.T) {
	client, _, _, l := ledger(t)
	for attempt, stored := range map[string]string{
		"not-json":       `{`,
		"empty":          ``,
		"another-schema": `{"schema":2,"outcome":"none"}`,
		"no-schema":      `{"outcome":"none"}`,
		"no-outcome":     `{"schema":1}`,
		"strange":        `{"schema":1,"outcome":"perhaps"}`,
		"no-value":       `{"schema":1,"outcome":"token","issued_at":"2026-11-22T08:00:00Z","life_ms":7200000}`,
		"no-life":        `{"schema":1,"outcome":"token","sealed":"dg==","issued_at":"2026-11-22T08:00:00Z"}`,
		"endless":        `{"schema":1,"outcome":"token","sealed":"dg==","issued_at":"2026-11-22T08:00:00Z","life_ms":9223372036854775807}`,
		"not-late":       `{"schema":1,"outcome":"unknown"}`,
	} {
		t.Run(attempt, func(t *testing.T) {
			if _, err := client.Put(t.Context(), prefix+"orphan/t/"+attempt, stored); err != nil {
				t.Fatal(err)
			}
			want := []token.Orphan{{Attempt: attempt, Outcome: token.OutcomeUnknown, Late: true}}
			entry := mustRead(t, l)
			if d := diff(want, entry.Orphans); d != "" {
				t.Errorf("the orphans that were read (-want +got):\n%s", d)
			}
			mustWrite(t, l, entry.Revision, version(1), attempt)
			if got := keys(t, client, prefix+"orphan/"); len(got) != 0 {
				t.Errorf("left: %q", got)
			}
		})
	}
}
