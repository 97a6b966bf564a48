package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

const recordKey = prefix + "token/t"

// anyRecord draws records that a leader could write.
func anyRecord(t *rapid.T) token.Record {
	// Times are stored to the nanosecond, durations to the millisecond.
	when := rapid.Custom(func(t *rapid.T) time.Time {
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds"))
		return rapid.SampledFrom([]time.Time{{}, at.UTC(), at.In(time.FixedZone("", 8*3600))}).Draw(t, "at")
	})
	span := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "ms")) * time.Millisecond
	})
	outcome := rapid.SampledFrom([]token.Outcome{token.OutcomeToken, token.OutcomeNone, token.OutcomeUnknown})
	text := rapid.StringN(0, 20, 80)
	rec := token.Record{
		Version:  rapid.Int64Range(0, 1<<62).Draw(t, "version"),
		Source:   text.Draw(t, "source"),
		IssuedAt: when.Draw(t, "issued at"), Life: span.Draw(t, "life"),
		Doubt: rapid.Bool().Draw(t, "doubt"), Drained: rapid.Bool().Draw(t, "drained"), Condemned: rapid.Bool().Draw(t, "condemned"),
		RefreshedAt: when.Draw(t, "refreshed at"), Failures: rapid.IntRange(0, 1e6).Draw(t, "failures"),
		Spent: token.Spending{
			Day: text.Draw(t, "day"), Fetches: rapid.Int64().Draw(t, "fetches"), Forced: rapid.Int64().Draw(t, "forced"),
			ForcedAt: when.Draw(t, "forced at"),
		},
	}
	if rec.Version > 0 {
		rec.Value = token.NewSecret(rapid.StringN(0, 600, token.MaxValueSize).Draw(t, "value"))
	}
	if rapid.Bool().Draw(t, "is pending") {
		rec.Pending = &token.Intent{
			Attempt: text.Draw(t, "attempt"), Term: rapid.Int64().Draw(t, "term"), At: when.Draw(t, "begun at"), Forced: rapid.Bool().Draw(t, "forced"),
		}
	}
	if rapid.Bool().Draw(t, "is resolved") {
		rec.Resolved = token.Resolution{Attempt: text.Draw(t, "resolved"), Outcome: outcome.Draw(t, "outcome")}
	}
	if rapid.Bool().Draw(t, "has failed") {
		rec.LastFailure = token.Failure{
			Outcome: outcome.Draw(t, "failure's outcome"), Class: token.Class(text.Draw(t, "class")), Written: rapid.Bool().Draw(t, "written"),
			Code: rapid.StringN(1, 20, 80).Draw(t, "code"), Meaning: text.Draw(t, "meaning"), Remedy: text.Draw(t, "remedy"),
			Message: text.Draw(t, "message"), RetryAfter: span.Draw(t, "retry after"), At: when.Draw(t, "failed at"),
		}
	}
	if rapid.Bool().Draw(t, "was forced") {
		rec.ForcedVersion = rapid.Int64Range(1, 1<<62).Draw(t, "forced version")
	}
	if rapid.Bool().Draw(t, "was fetched alone") {
		rec.Floor = rapid.Int64Range(1, 1<<62).Draw(t, "floor")
	}
	if rapid.Bool().Draw(t, "died early") {
		rec.EarlyDeaths = token.EarlyDeaths{Count: rapid.Int64Range(1, 1e6).Draw(t, "early deaths"), Last: when.Draw(t, "died at")}
	}
	if rapid.Bool().Draw(t, "was handed over") {
		rec.HandedOver = rapid.MapOf(text, when).Draw(t, "handed over")
	}
	return rec
}

// same compares records; an empty map is no map.
func same(want, got token.Record) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b token.Secret) bool { return a == b }))
}

// offline is a store that is never asked to call etcd.
func offline(tb testing.TB, sealer store.Sealer) *store.Store {
	tb.Helper()
	if sealer == nil {
		sealer = plain{}
	}
	s, err := store.New(store.Config{Sealer: sealer})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestEveryRecordIsReadAsItWasStored(t *testing.T) {
	s := offline(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		want := anyRecord(t)
		data, err := s.EncodeRecord(recordKey, "write", want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.DecodeRecord(recordKey, data)
		if err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if d := same(want, got); d != "" {
			t.Fatalf("stored as %s (-want +got):\n%s", data, d)
		}
	})
}

// A life is never overstated.
func TestDurationsAreCutToMilliseconds(t *testing.T) {
	s := offline(t, nil)
	rec := version(1)
	rec.Life = 2*time.Hour + 1999*time.Microsecond
	data, err := s.EncodeRecord(recordKey, "write", rec)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.DecodeRecord(recordKey, data)
	if want := 2*time.Hour + time.Millisecond; err != nil || got.Life != want {
		t.Errorf("a life of %v is read as %v, error %v, want %v", rec.Life, got.Life, err, want)
	}
}

// plain seals nothing.
type plain struct{}

func (plain) Seal(value []byte, _ string) ([]byte, error)  { return value, nil }
func (plain) Open(sealed []byte, _ string) ([]byte, error) { return sealed, nil }
func (plain) Current([]byte) bool                          { return true }

// locked is a Sealer that can be told to fail.
type locked struct{ fail bool }

func (l *locked) Current(sealed []byte) bool { return bytes.Contains(sealed, []byte("|")) }

var errLocked = errors.New("no key")

func (l *locked) Seal(value []byte, key string) ([]byte, error) {
	if l.fail {
		return nil, errLocked
	}
	return append([]byte(key+"|"), bytes.Map(func(r rune) rune { return r + 1 }, value)...), nil
}

func (l *locked) Open(sealed []byte, key string) ([]byte, error) {
	value, found := bytes.CutPrefix(sealed, []byte(key+"|"))
	if l.fail || !found {
		return nil, errLocked
	}
	return bytes.Map(func(r rune) rune { return r - 1 }, value), nil
}

func TestValuesAreSealedForTheirKey(t *testing.T) {
	s, rec := offline(t, &locked{}), version(1)
	data, err := s.EncodeRecord(recordKey, "write", rec)
	if err != nil {
		t.Fatal(err)
	}
	var stored struct{ Sealed []byte }
	if err := json.Unmarshal(data, &stored); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(rec.Value.Reveal())) || bytes.Contains(stored.Sealed, []byte(rec.Value.Reveal())) {
		t.Errorf("the value is not sealed in %s", data)
	}
	if got, err := s.DecodeRecord(recordKey, data); err != nil || got.Value != rec.Value {
		t.Errorf("the value does not open: %v", err)
	}
	if _, err := s.DecodeRecord(prefix+"token/other", data); !errors.Is(err, errLocked) {
		t.Errorf("a value that was moved to another key: error %v, want the sealer's", err)
	}
	orphan, err := s.EncodeOrphan(prefix+"orphan/t/a", granted("a"))
	if err != nil || bytes.Contains(orphan, []byte("value of a")) {
		t.Errorf("the orphan's value is not sealed in %s, error %v", orphan, err)
	}
	if got, err := s.DecodeOrphan(prefix+"orphan/t/a", "a", orphan); err != nil || got.Value != granted("a").Value {
		t.Errorf("the orphan's value does not open: %v", err)
	}
	if _, err := s.DecodeOrphan(prefix+"orphan/t/b", "b", orphan); !errors.Is(err, errLocked) {
		t.Errorf("an orphan that was moved to another key: error %v, want the sealer's", err)
	}
}

func TestWhatCannotBeSealedIsNotWritten(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	sealer := &locked{}
	r := newReplica(t, client, func(cfg *store.Config) { cfg.Sealer = sealer })
	l := r.Ledger("t", elect(t, client, r.Store, "1"))
	revision := mustWrite(t, l, 0, version(1))
	sealer.fail = true
	if _, err := l.Write(t.Context(), revision, version(2)); !errors.Is(err, errLocked) {
		t.Errorf("writing: error %v, want the sealer's", err)
	}
	if err := l.Leave(t.Context(), granted("a")); !errors.Is(err, errLocked) {
		t.Errorf("leaving an orphan: error %v, want the sealer's", err)
	}
	if _, err := l.Read(t.Context()); !errors.Is(err, errLocked) {
		t.Errorf("reading what does not open: error %v, want the sealer's", err)
	}
	if _, err := l.Write(t.Context(), revision, token.Record{Version: 2, Doubt: true}); err != nil {
		t.Errorf("a record without a value needs no sealer, but: %v", err)
	}
}

// badRecords cannot be used, by what is wrong with them.
func badRecords() map[string]string {
	return map[string]string{
		"is not a token record":                    `{"schema":`,
		"key is not a token record: unexpected":    ``,
		"has schema 2, this program knows 1":       `{"schema":2,"version":1,"spent":{"fetches":0}}`,
		"has schema 0, this program knows 1":       `{"version":1}`,
		"run the newer program":                    `{"schema":3,"version":"another form"}`,
		"cannot unmarshal":                         `{"schema":1,"version":"1"}`,
		"illegal base64":                           `{"schema":1,"version":1,"sealed":"*"}`,
		"cannot parse":                             `{"schema":1,"version":1,"issued_at":"yesterday"}`,
		"contradicts itself: a negative version":   `{"schema":1,"version":-1}`,
		"contradicts itself: a value of no vers":   `{"schema":1,"version":0,"sealed":"dg=="}`,
		"contradicts itself: a negative life":      `{"schema":1,"version":1,"life_ms":-1}`,
		"contradicts itself: an endless life":      `{"schema":1,"version":1,"life_ms":9223372036854775807}`,
		"contradicts itself: less than no failure": `{"schema":1,"version":1,"failures":-1}`,
	}
}

func TestARecordThatCannotBeUsedIsNotGuessed(t *testing.T) {
	client, _, _, l := ledger(t)
	for why, stored := range badRecords() {
		if _, err := client.Put(t.Context(), recordKey, stored); err != nil {
			t.Fatal(err)
		}
		_, err := l.Read(t.Context()) // returns at once: reading it again would not help
		why, _, _ = strings.Cut(why, ": ")
		if err == nil || errors.Is(err, token.ErrConflict) || errors.Is(err, token.ErrDeposed) || !strings.Contains(err.Error(), recordKey) {
			t.Errorf("%s is read with error %v", stored, err)
		} else if !strings.Contains(err.Error(), strings.TrimPrefix(why, "key ")) {
			t.Errorf("%s is read with error %q, want one that says %q", stored, err, why)
		}
	}
}

// Who sees that a record cannot be used keeps the value out of what is logged about it.
func TestNoErrorAboutARecordShowsItsValue(t *testing.T) {
	s, canary := offline(t, nil), "dGhlLWNhbmFyeQ" // in no valid form
	for _, stored := range []string{
		`{"schema":1,"version":1,"sealed":"` + canary + `!"}`,
		`{"schema":1,"version":1,"sealed":{"` + canary + `":1}}`,
		`{"schema":1,"version":1,"sealed":"` + canary + `"`,
		`{"schema":1,"version":"` + canary + `"}`,
		`{"schema":2,"version":1,"sealed":"` + canary + `=="}`,
		`{"schema":1,"version":0,"sealed":"` + canary + `=="}`,
		canary,
	} {
		_, err := s.DecodeRecord(recordKey, []byte(stored))
		if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "the-canary") {
			t.Errorf("%s is read with error %v", stored, err)
		}
	}
}

// Records are there to be looked at with etcdctl.
func TestARecordIsJSONWithPlainNames(t *testing.T) {
	client, _, _, l := ledger(t)
	rec := begun(version(3), "attempt")
	rec.LastFailure = token.Failure{Code: "40164", Class: token.Address, Outcome: token.OutcomeNone}
	rec.Spent = token.Spending{Day: "2026-11-22", Fetches: 4}
	mustWrite(t, l, 0, rec)
	var got map[string]any
	if err := json.Unmarshal([]byte(find(t, client, recordKey).value), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"schema", "write", "version", "sealed", "issued_at", "life_ms", "pending", "resolved", "spent", "last_failure"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is not in %v", name, got)
		}
	}
	if got["version"] != 3.0 || got["life_ms"] != 7200000.0 {
		t.Errorf("version %v, life_ms %v", got["version"], got["life_ms"])
	}
}

func FuzzDecodeRecord(f *testing.F) {
	s := offline(f, nil)
	for _, stored := range badRecords() {
		f.Add([]byte(stored))
	}
	full := begun(version(7), "attempt")
	full.LastFailure = token.Failure{Code: "timeout", Class: token.Transient, Outcome: token.OutcomeUnknown, RetryAfter: time.Second, At: time.Unix(1, 2)}
	full.HandedOver = map[string]time.Time{"r1": time.Unix(3, 4)}
	full.Spent = token.Spending{Day: "2026-11-22", Fetches: 2, Forced: 1, ForcedAt: time.Unix(5, 6)}
	data, err := s.EncodeRecord(recordKey, "write", full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, unknown := range []string{`"newer":1`, `"Version":9,"VERSION":[{"a":null}]`, `"":{"schema":2},"\u0000\ud800":1e999`, `"newer":1,"newer":"<again>"`} {
		f.Add(append(append(data[:len(data)-1:len(data)-1], ','), unknown+"}"...))
	}
	known := knownMembers(f, s)
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := s.DecodeRecord(recordKey, data)
		if err != nil {
			if diff(token.Record{}, rec) != "" {
				t.Errorf("an error comes with the record %+v", rec)
			}
			return
		}
		if rec.Version < 0 || rec.Life < 0 || rec.Failures < 0 || rec.LastFailure.RetryAfter < 0 || rec.Version == 0 && !rec.Value.IsZero() {
			t.Errorf("decoded %+v", rec)
		}
		again, err := s.EncodeRecord(recordKey, "write", rec)
		if err != nil {
			return // a time zone may carry a time into year 10000, which JSON does not take
		}
		if d := cmp.Diff(strangers(object(t, data), known), strangers(object(t, again), known)); d != "" {
			t.Errorf("of what is not known (-before +after):\n%s", d)
		}
		got, err := s.DecodeRecord(recordKey, again)
		if rec.LastFailure.Code == "" {
			rec.LastFailure = token.Failure{} // there is none
		}
		if err != nil {
			t.Errorf("decoding what was encoded: %v", err)
		} else if d := same(rec, got); d != "" {
			t.Errorf("encoded and decoded (-before +after):\n%s", d)
		}
	})
}

func FuzzDecodeOrphan(f *testing.F) {
	s := offline(f, nil)
	key := prefix + "orphan/t/a"
	for _, o := range []token.Orphan{granted("a"), {Outcome: token.OutcomeNone}, {Outcome: token.OutcomeUnknown, Late: true}} {
		data, err := s.EncodeOrphan(key, o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := s.DecodeOrphan(key, "a", data)
		if err != nil {
			return
		}
		ok := false
		switch o.Outcome {
		case token.OutcomeToken:
			ok = !o.Value.IsZero() && o.Life > 0
		case token.OutcomeNone:
			ok = o.Value.IsZero()
		case token.OutcomeUnknown:
			ok = o.Late
		}
		if !ok || o.Attempt != "a" {
			t.Errorf("decoded %+v", o)
		}
	})
}

func TestNewRefusesANamespaceThatWouldMixWithAnother(t *testing.T) {
	for _, namespace := range []string{"x", "/x", "/tokenbroker"} {
		if _, err := store.New(store.Config{Namespace: namespace, Sealer: plain{}}); err == nil {
			t.Errorf("namespace %q was accepted", namespace)
		}
	}
	s, err := store.New(store.Config{Namespace: "/a/b/", Sealer: plain{}})
	if err != nil || s.ElectionPrefix() != "/a/b/election" {
		t.Errorf("the election is at %q, error %v", s.ElectionPrefix(), err)
	}
}

func TestNamespacesDoNotMix(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	inner := newReplica(t, client, func(cfg *store.Config) { cfg.Namespace = "/tokenbroker/inner/" })
	outer := newReplica(t, client, nil)
	inside := inner.Ledger("t", elect(t, client, inner.Store, "1"))
	outside := outer.Ledger("t", elect(t, client, outer.Store, "1"))
	mustWrite(t, inside, 0, version(5))
	mustWrite(t, outside, 0, version(2))
	leave(t, inside, granted("a"))
	if entry := mustRead(t, outside); entry.Record.Version != 2 || len(entry.Orphans) != 0 {
		t.Errorf("the outer namespace reads version %d and %d orphans", entry.Record.Version, len(entry.Orphans))
	}
	resp, err := client.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		if !strings.HasPrefix(string(kv.Key), prefix) {
			t.Errorf("a key outside of the namespaces: %s", kv.Key)
		}
	}
}
