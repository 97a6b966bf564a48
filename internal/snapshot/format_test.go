package snapshot_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/snapshot"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// same compares all but where a time is shown.
func same(a, b any) string {
	return cmp.Diff(a, b, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), cmp.Comparer(func(a, b token.Secret) bool { return a == b }))
}

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds")).UTC()
	})
}

func anyHeld() *rapid.Generator[view.Held] {
	return rapid.Custom(func(t *rapid.T) view.Held {
		h := view.Held{
			Name: rapid.StringMatching(`[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?`).Draw(t, "name"),
			Record: token.Record{
				Version: rapid.Int64Min(1).Draw(t, "version"), Source: rapid.String().Draw(t, "source"),
				Value:    token.NewSecret(rapid.StringMatching(`[!-~]{1,600}`).Draw(t, "value")),
				IssuedAt: anyTime().Draw(t, "issued at"), Life: time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "life")) * time.Millisecond,
				Doubt: rapid.Bool().Draw(t, "doubt"), Condemned: rapid.Bool().Draw(t, "condemned"),
				Floor: rapid.Int64Min(0).Draw(t, "floor"), Failures: rapid.IntRange(0, 99).Draw(t, "failures"),
			},
			Local: rapid.Bool().Draw(t, "local"), Doubted: rapid.Bool().Draw(t, "doubted"),
		}
		if rapid.Bool().Draw(t, "pending") {
			h.Record.Pending = &token.Intent{
				Attempt: rapid.String().Draw(t, "attempt"), Term: rapid.Int64().Draw(t, "term"), At: anyTime().Draw(t, "begun at"),
				Forced: rapid.Bool().Draw(t, "forced"),
			}
		}
		if h.Seen = h.Record.Version; h.Local {
			h.Seen = rapid.Int64Range(0, h.Record.Version).Draw(t, "seen")
		}
		return h
	})
}

func TestWhatWasWrittenIsReadAndShowsNoValue(t *testing.T) {
	c := codec(t, lock(3))
	rapid.Check(t, func(rt *rapid.T) {
		want := snapshot.Snapshot{
			Namespace: rapid.StringMatching(`/[a-z]+/`).Draw(rt, "namespace"), Replica: rapid.String().Draw(rt, "replica"),
			Written: anyTime().Draw(rt, "written"),
			Held:    rapid.SliceOfNDistinct(anyHeld(), 0, 4, func(h view.Held) string { return h.Name }).Draw(rt, "held"),
		}
		data, err := snapshot.Encode(want, c)
		if err != nil {
			rt.Fatal(err)
		}
		for _, h := range want.Held {
			if value := h.Record.Value.Reveal(); len(value) > 20 && bytes.Contains(data, []byte(value)) {
				rt.Errorf("the value of %s is in it: %s", h.Name, data)
			}
		}
		got, err := snapshot.Decode(data, want.Namespace, want.Written, c)
		if err != nil {
			rt.Fatalf("%v\n%s", err, data)
		}
		slices.SortFunc(want.Held, func(a, b view.Held) int { return strings.Compare(a.Name, b.Name) })
		if d := same(want, got); d != "" {
			rt.Fatalf("(-want +got):\n%s", d)
		}
	})
}

// Whatever the store and the replica itself do, a replica can read what it has written.
func TestNothingThatAViewHoldsIsTakenForAContradiction(t *testing.T) {
	c := codec(t, lock(3))
	rapid.Check(t, func(rt *rapid.T) {
		now := clock.New()
		v := view.New(view.Config{Clock: now})
		if err := v.Configure([]view.Spec{{Name: "t", Traits: idempotent}}); err != nil {
			rt.Fatal(err)
		}
		values := rapid.SampledFrom([]string{"", "a", "b", "c"})
		store := func(rt *rapid.T) view.Change {
			rec := token.Record{Version: rapid.Int64Range(0, 5).Draw(rt, "version"), Source: source, IssuedAt: now.Wall().UTC(), Life: time.Hour}
			if rapid.Bool().Draw(rt, "far") {
				rec.Version *= 1e15 // beyond what was served alone
			}
			if rec.Version > 0 {
				rec.Value = token.NewSecret(values.Draw(rt, "value"))
			}
			rec.Floor = rapid.Int64Range(0, 2).Draw(rt, "floor")
			return view.Change{Name: "t", Record: rec, Unreadable: rapid.IntRange(0, 9).Draw(rt, "unreadable") == 0}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(rt *rapid.T) { v.Apply(v.Revision()+1, 0, []view.Change{store(rt)}) },
			"load":  func(rt *rapid.T) { v.Load(v.Revision(), v.Revision()+1, 0, []view.Change{store(rt)}) },
			"lose":  func(*rapid.T) { v.Load(v.Revision(), v.Revision()+1, 0, nil) },
			"alone": func(rt *rapid.T) {
				if value := token.NewSecret(values.Draw(rt, "value")); !value.IsZero() {
					v.Token("t").ServeLocal(v.Token("t").Traits().Source, value, now.Read(), time.Hour)
				}
			},
			"": func(rt *rapid.T) {
				want := snapshot.Snapshot{Namespace: namespace, Written: now.Wall(), Held: v.Held()}
				data, err := snapshot.Encode(want, c)
				if err != nil {
					rt.Fatal(err)
				}
				if _, err := snapshot.Decode(data, namespace, now.Wall(), c); err != nil {
					rt.Fatalf("%v: %s", err, data)
				}
			},
		})
	})
}
