package snapshot_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/snapshot"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// Whatever a file holds, it is read or refused; what is read can be used, and is written again as it was. With sum the data is a content,
// and the envelope around it is right: so that chance gets past the checksum.
func FuzzSnapshot(f *testing.F) {
	c, latest := codec(f, siteKey), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Add([]byte(`{"format":"tokenbroker snapshot","schema":1,"sha256":"","content":{}}`), false)
	f.Add([]byte(`{"namespace":"/tokenbroker/","tokens":[{"name":"stable","seen":1,"record":{"schema":1,"version":1}}]}`), true)
	f.Fuzz(func(t *testing.T, data []byte, sum bool) {
		if sum {
			data = fmt.Appendf(nil, `{"format":"tokenbroker snapshot","schema":1,"sha256":%q,"content":%s}`, snapshot.Checksum(data), data)
		}
		got, err := snapshot.Decode(data, namespace, latest, c)
		if err != nil {
			var refusal *snapshot.Refusal
			if !errors.As(err, &refusal) || refusal.Reason == "" || refusal.What == "" || refusal.Remedy == "" {
				t.Errorf("an error without a reason: %v", err)
			}
			if !refusal.Foreign() && len(data) > 0 && !json.Valid(data) && refusal.Reason != snapshot.Damaged {
				t.Errorf("what is no JSON is refused as %v", refusal)
			}
			return
		}
		use(t, got)
		again, err := snapshot.Encode(got, c)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := snapshot.Decode(again, namespace, latest, c)
		if err != nil {
			t.Fatalf("what was read and written cannot be read: %v", err)
		}
		if len(back.Held) != len(got.Held) || !back.Written.Equal(got.Written) || back.Replica != got.Replica {
			t.Errorf("%v became %v", got, back)
		}
	})
}

// use restores a snapshot, and looks at what is promised of it.
func use(t *testing.T, s snapshot.Snapshot) {
	t.Helper()
	v := view.New(view.Config{Clock: clock.New()})
	if err := v.Configure([]view.Spec{{Name: "stable", Traits: idempotent}}); err != nil {
		t.Fatal(err)
	}
	v.Restore(s.Held)
	if r := v.Token("stable").Read(); r.State == view.Active && (r.Record.Value.IsZero() || r.Record.Condemned || r.TTL <= 0) {
		t.Errorf("promised for %v: %+v", r.TTL, r.Record)
	}
}
