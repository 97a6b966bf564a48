package judge_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

func TestALegalRunPasses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		if v := judge.Judge(newWorld(rapid.Uint64().Draw(t, "seed"), false)); !v.Passed() {
			t.Fatalf("a legal run is judged illegal:\n%s", v)
		}
	})
}

// corruption spoils one thing in the history of a world without faults, so that one check must notice.
type corruption struct {
	check string
	what  string
	spoil func(rng *rand.Rand, c *judge.Case)
}

func TestOneThingThatIsWrongInALegalRunIsNoticed(t *testing.T) {
	t.Parallel()
	for _, bad := range corruptions() {
		t.Run(bad.check+" "+bad.what, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(10) {
				c := newWorld(seed, true)
				bad.spoil(rand.New(rand.NewPCG(seed, 2)), &c)
				if v := judge.Judge(c); v.Check(bad.check).Passed() {
					t.Fatalf("seed %d: nobody noticed:\n%s", seed, v)
				}
			}
		})
	}
}

func corruptions() []corruption {
	anAnswer := func(c *judge.Case, rng *rand.Rand) *history.Event {
		return pick(c, rng, func(e *history.Event) bool { return isGet(e) && e.Answer.State == "active" })
	}
	return []corruption{
		{"S1", "a promise that is a moment too long", func(rng *rand.Rand, c *judge.Case) {
			e := anAnswer(c, rng)
			e.Answer.TTL = issued(c, e.Answer.Value).Until - e.Sent + 1
		}},
		{"S1", "a promise of a stream that is longer than the token's life", func(rng *rand.Rand, c *judge.Case) {
			e := pick(c, rng, func(e *history.Event) bool { return e.Kind == history.Watched && e.Answer.State == "active" })
			e.Answer.TTL = issued(c, e.Answer.Value).Until - max(issued(c, e.Answer.Value).From, e.Sent) + 1
		}},
		{"S1", "a value that WeChat does not know", func(rng *rand.Rand, c *judge.Case) { anAnswer(c, rng).Answer.Value = "made up" }},
		{"S1", "an answer before the token was there", func(rng *rand.Rand, c *judge.Case) {
			e := anAnswer(c, rng)
			e.Received = issued(c, e.Answer.Value).From - 1
			e.Sent = e.Received - tick
		}},
		{"S1", "a suspect token with a life", func(rng *rand.Rand, c *judge.Case) { anAnswer(c, rng).Answer.State = "suspect" }},
		{"S1", "an active token without a life", func(rng *rand.Rand, c *judge.Case) { anAnswer(c, rng).Answer.TTL = 0 }},
		{"S1", "an expired token with a value", func(rng *rand.Rand, c *judge.Case) {
			e := anAnswer(c, rng)
			e.Answer.State, e.Answer.TTL = "expired", 0
		}},
		{"S2", "a version that goes back", func(rng *rand.Rand, c *judge.Case) {
			e := pick(c, rng, func(e *history.Event) bool {
				return isGet(e) && e.Answer.Version > 1 && slices.ContainsFunc(c.Events, func(before history.Event) bool {
					return isGet(&before) && before.Replica == e.Replica && before.Token == e.Token && before.Received < e.Sent &&
						before.Answer.Version == e.Answer.Version
				})
			})
			older := pick(c, rng, func(old *history.Event) bool {
				return isGet(old) && old.Token == e.Token && old.Answer.Version == e.Answer.Version-1
			})
			e.Answer.Version, e.Answer.Value = older.Answer.Version, older.Answer.Value
		}},
		{"S2", "a version with another value", func(rng *rand.Rand, c *judge.Case) {
			e := anAnswer(c, rng)
			e.Answer.Value = issued(c, "", func(t history.Issued) bool { return t.Token == e.Token && t.Value != e.Answer.Value }).Value
		}},
		{"S2", "a version that never stood in etcd", func(rng *rand.Rand, c *judge.Case) { anAnswer(c, rng).Answer.Version += 1000 }},
		{"M", "a record with another version", func(rng *rand.Rand, c *judge.Case) { aRecord(c, rng).Stored.Version++ }},
		{"M", "a record that counts a fetch too many", func(rng *rand.Rand, c *judge.Case) { aRecord(c, rng).Stored.Fetches++ }},
		{"M", "a record that resolves another attempt", func(rng *rand.Rand, c *judge.Case) { aRecord(c, rng).Stored.Resolved += "x" }},
		{"M", "a record with an older revision", func(rng *rand.Rand, c *judge.Case) {
			pick(c, rng, func(e *history.Event) bool { return e.Kind == history.Record && e.Stored.Version > 1 }).Stored.Revision = 1
		}},
		{"M", "a step that is left out", func(rng *rand.Rand, c *judge.Case) {
			e := pick(c, rng, func(e *history.Event) bool {
				return e.Kind == history.Record && e.Stored.Attempt == "" && e.Received < lifetime-peace
			})
			i := slices.IndexFunc(c.Events, func(other history.Event) bool { return other.Stored == e.Stored })
			c.Events = slices.Delete(c.Events, i, i+1)
		}},
		{"M", "a read of what was replaced long ago", func(rng *rand.Rand, c *judge.Case) {
			e := pick(c, rng, func(e *history.Event) bool { return e.Kind == history.Read && e.Stored != nil && e.Stored.Version > 1 })
			e.Stored = pick(c, rng, func(old *history.Event) bool {
				return old.Kind == history.Record && old.Token == e.Token && old.Stored.Version < e.Stored.Version-1 ||
					old.Kind == history.Record && old.Token == e.Token && old.Stored.Version == 0
			}).Stored
		}},
		{"A1", "a failure in the middle of a token's life", func(rng *rand.Rand, c *judge.Case) {
			e := pick(c, rng, func(e *history.Event) bool {
				if !isGet(e) {
					return false
				}
				t := issued(c, e.Answer.Value)
				return t.From > 15*time.Second && e.Sent > t.From+time.Second && min(t.Ends-10*time.Second, t.Until) > e.Received
			})
			e.Code, e.Reason, e.Answer = "Unavailable", "EXPIRED", nil
		}},
		{"A2", "a replica that is not well at the end", func(rng *rand.Rand, c *judge.Case) {
			last := pick(c, rng, func(e *history.Event) bool { return isGet(e) && e.Sent > lifetime-tick*30 })
			for i := range c.Events {
				if e := &c.Events[i]; isGet(e) && e.Replica == last.Replica && e.Token == last.Token && e.Sent >= last.Sent {
					e.Answer.State, e.Answer.TTL = "suspect", 0
				}
			}
		}},
		{"A2", "no word of the end of faults", func(_ *rand.Rand, c *judge.Case) {
			c.Events = slices.DeleteFunc(c.Events, func(e history.Event) bool { return e.Kind == history.Healed })
		}},
		{"Q1", "a request that is sent again and again", func(rng *rand.Rand, c *judge.Case) {
			late := slices.IndexFunc(c.Issued, func(t history.Issued) bool { return t.From > 15*time.Second })
			t := c.Issued[late+rng.IntN(len(c.Issued)-late-1)]
			for i := range 5 {
				again := t
				again.Value, again.From = t.Value+string(rune('a'+i)), t.From+time.Duration(i)
				c.Issued = append(c.Issued, again)
			}
		}},
		{"Q1", "more attempts than the budget has", func(_ *rand.Rand, c *judge.Case) { c.Tokens[0].DailyBudget = 1 }},
		{"Q1", "more requests than attempts", func(_ *rand.Rand, c *judge.Case) { c.Tokens[0].Requests = 1000 }},
		{"L", "a write of another term", func(rng *rand.Rand, c *judge.Case) { aRecord(c, rng).Stored.Term-- }},
		{"L", "two leaders", func(rng *rand.Rand, c *judge.Case) {
			pick(c, rng, func(e *history.Event) bool { return len(e.Candidates) > 1 }).Candidates[1].Proclaimed = true
		}},
		{"H", "a kind of event that there is not", func(rng *rand.Rand, c *judge.Case) { c.Events[rng.IntN(len(c.Events))].Kind = "other" }},
		{"H", "a token that nobody keeps", func(rng *rand.Rand, c *judge.Case) { anAnswer(c, rng).Token = "other" }},
		{"H", "a replica that there is not", func(rng *rand.Rand, c *judge.Case) { anAnswer(c, rng).Replica = "r9" }},
		{"H", "a value that was issued twice", func(_ *rand.Rand, c *judge.Case) { c.Issued = append(c.Issued, c.Issued[0]) }},
	}
}

// pick returns one of the events that fit.
func pick(c *judge.Case, rng *rand.Rand, fits func(*history.Event) bool) *history.Event {
	var all []*history.Event
	for i := range c.Events {
		if e := &c.Events[i]; fits(e) {
			all = append(all, e)
		}
	}
	return all[rng.IntN(len(all))]
}

// aRecord returns a record that is not the last one of its token.
func aRecord(c *judge.Case, rng *rand.Rand) *history.Event {
	return pick(c, rng, func(e *history.Event) bool { return e.Kind == history.Record && e.Received < lifetime-peace })
}

func isGet(e *history.Event) bool { return e.Kind == history.Get && e.Answer != nil }

// issued returns what WeChat says of a value, or the first that fits.
func issued(c *judge.Case, value string, fits ...func(history.Issued) bool) history.Issued {
	i := slices.IndexFunc(c.Issued, func(t history.Issued) bool {
		return t.Value == value || len(fits) > 0 && fits[0](t)
	})
	return c.Issued[i]
}
