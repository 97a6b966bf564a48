package store_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// keysets returns a keyset, and the same one with another primary.
func keysets(t *testing.T) (old, promoted *seal.Keyset) {
	t.Helper()
	old, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	both, id, err := old.Add()
	if err != nil {
		t.Fatal(err)
	}
	if promoted, err = both.Promote(id); err != nil {
		t.Fatal(err)
	}
	return old, promoted
}

// sealedReplica is a replica with a keyset.
func sealedReplica(t *testing.T, client *clientv3.Client, k store.Sealer, log *slog.Logger) *replica {
	t.Helper()
	return newReplica(t, client, func(cfg *store.Config) {
		cfg.Sealer = k
		if log != nil {
			cfg.Logger = log
		}
	})
}

// unusable is what the metric tells, by reason.
func unusable(t *testing.T, r *replica) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r.Store)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			told[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return told
}

// resealed is a stored record whose value is changed.
func resealed(t *testing.T, record string, change func(sealed []byte) []byte) string {
	t.Helper()
	var stored map[string]json.RawMessage
	if err := json.Unmarshal([]byte(record), &stored); err != nil {
		t.Fatal(err)
	}
	var sealed []byte
	if err := json.Unmarshal(stored["sealed"], &sealed); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(change(sealed))
	if err != nil {
		t.Fatal(err)
	}
	stored["sealed"] = data
	all, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func TestAWriteSealsWithThePrimaryAndChangesNothingElse(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	old, promoted := keysets(t)
	before, after := sealedReplica(t, client, old, nil), sealedReplica(t, client, promoted, nil)
	fence := elect(t, client, before.Store, "1")
	rec := begun(version(3), "open")
	rec.Doubt = true
	mustWrite(t, before.Ledger("t", fence), 0, rec)
	leave(t, before.Ledger("t", fence), granted("left"))

	l := after.Ledger("t", fence)
	read := mustRead(t, l)
	mustWrite(t, l, read.Revision, read.Record)
	again := mustRead(t, l)
	if d := diff(read.Record, again.Record); d != "" || len(again.Orphans) != 1 {
		t.Errorf("%d orphans; the record (-before +after):\n%s", len(again.Orphans), d)
	}
	values, err := after.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		id, _ := seal.KeyOf(v.Sealed)
		if want := map[bool]seal.ID{true: old.Primary(), false: promoted.Primary()}[v.Attempt != ""]; id != want || v.Err != nil || v.Name != "t" {
			t.Errorf("%s is sealed with %v, want %v; error %v", v.Key, id, want, v.Err)
		}
	}
	if len(values) != 2 {
		t.Errorf("%d values", len(values))
	}
}

// Whatever stands in the place of a value: the feed goes on with what the replica holds, says why once, and a leader neither reads nor
// writes the record. What is put right again is taken in.
func TestAValueThatDoesNotOpenIsNeitherServedNorWritten(t *testing.T) {
	other, _ := keysets(t)
	foreign, err := other.Seal([]byte("value"), recordKey)
	if err != nil {
		t.Fatal(err)
	}
	for reason, change := range map[string]func([]byte) []byte{
		"missing_key":                   func([]byte) []byte { return foreign },
		"unsealed":                      func([]byte) []byte { return []byte("a token of somebody else's") },
		"moved_or_changed":              func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"moved_or_changed, truncated":   func(b []byte) []byte { return b[:len(b)-3] },
		"moved_or_changed, a stub":      func(b []byte) []byte { return b[:3] },
		"moved_or_changed, more of it":  func(b []byte) []byte { return append(b, b...) },
		"moved_or_changed, other nonce": func(b []byte) []byte { b[6] ^= 0x80; return b },
	} {
		t.Run(reason, func(t *testing.T) {
			reason, _, _ := strings.Cut(reason, ",")
			client := etcdtest.Start(t).Client(t)
			k, _ := keysets(t)
			log := new(logtest.Buffer)
			r := sealedReplica(t, client, k, slog.New(slog.NewTextHandler(log, nil)))
			l := r.Ledger("t", elect(t, client, r.Store, "1"))
			revision := mustWrite(t, l, 0, version(1))
			r.run(t)
			r.awaitVersion(t, "t", 1)
			genuine := find(t, client, recordKey).value
			spoiled := resealed(t, strings.Replace(genuine, `"version":1`, `"version":2`, 1), change)
			if _, err := client.Put(t.Context(), recordKey, spoiled); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the metric tells of it", func() bool {
				return cmp.Equal(unusable(t, r), map[string]float64{reason: 1})
			})
			if got := log.String(); !strings.Contains(got, "token=t reason="+reason) {
				t.Errorf("the log does not tell: %s", got)
			}
			held := r.view.Token("t").Read()
			if held.Record.Version != 1 || held.Record.Value != version(1).Value || held.State == view.Expired {
				t.Errorf("it holds version %d, %v", held.Record.Version, held.State)
			}
			if _, err := l.Read(t.Context()); !errors.Is(err, token.ErrSealed) {
				t.Errorf("the leader reads it: %v", err)
			}
			if _, err := l.Write(t.Context(), revision, version(3)); !errors.Is(err, token.ErrConflict) {
				t.Errorf("the leader writes over it: %v", err)
			}
			if got := find(t, client, recordKey).value; got != spoiled {
				t.Error("the record was written")
			}
			if _, err := client.Put(t.Context(), recordKey, genuine); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is taken in again", func() bool {
				return len(unusable(t, r)) == 0 && r.view.Token("t").Read().Record.Clean()
			})
		})
	}
}

func TestAnOrphanThatDoesNotOpenIsTakenForTheWorst(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	old, promoted := keysets(t)
	without := sealedReplica(t, client, old, nil)
	fence := elect(t, client, without.Store, "1")
	leave(t, sealedReplica(t, client, promoted, nil).Ledger("t", fence), granted("a"))
	if got := mustRead(t, without.Ledger("t", fence)).Orphans; len(got) != 1 || !got[0].Late || !got[0].Value.IsZero() {
		t.Errorf("read as %+v", got)
	}
}

func TestASurveyFindsEveryValueAndWhyItDoesNotOpen(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	k, promoted := keysets(t)
	r := sealedReplica(t, client, k, nil)
	fence := elect(t, client, r.Store, "1")
	mustWrite(t, r.Ledger("t", fence), 0, version(1))
	mustWrite(t, r.Ledger("s", fence), 0, token.Record{Version: 2, Doubt: true}) // has no value
	leave(t, r.Ledger("t", fence), granted("a"))
	leave(t, sealedReplica(t, client, promoted, nil).Ledger("t", fence), granted("b"))
	for key, value := range map[string]string{
		"token/moved": find(t, client, recordKey).value, "token/plain": `{"schema":1,"version":1,"sealed":"dG9rZW4="}`, "token/broken": "{",
		"token/newer": strings.Replace(find(t, client, recordKey).value, `"schema":1`, `"schema":99`, 1),
	} {
		if _, err := client.Put(t.Context(), prefix+key, value); err != nil {
			t.Fatal(err)
		}
	}
	values, err := r.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range values {
		why := "opens"
		if refusal, ok := errors.AsType[*seal.OpenError](v.Err); ok {
			why = refusal.Reason()
		} else if v.Err != nil {
			why = "cannot be read"
		}
		got = append(got, strings.TrimPrefix(v.Key, prefix)+" "+why)
		if v.Err != nil && strings.Contains(v.Err.Error(), "value of version") {
			t.Errorf("a token is told: %v", v.Err)
		}
	}
	slices.Sort(got)
	want := []string{
		"orphan/t/a opens", "orphan/t/b missing_key", "token/broken cannot be read", "token/moved moved_or_changed",
		"token/newer moved_or_changed", "token/plain unsealed", "token/t opens",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestARequestForAnotherKeyIsAnotherRequest(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	r := newReplica(t, client, nil)
	r.run(t)
	for key := range int64(2) {
		req := token.Request{Kind: token.RequestReseal, Name: "t", Version: 1000 + key}
		want := token.Reply{Verdict: token.VerdictDone, Reason: string('a' + rune(key))}
		if err := r.Answer(t.Context(), req, want); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Ask(t.Context(), req); err != nil || got.Reason != want.Reason {
			t.Errorf("for key %d: %+v, %v", req.Version, got, err)
		}
	}
}
