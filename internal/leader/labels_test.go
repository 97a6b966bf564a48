package leader_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/leader"
)

func TestEveryCandidateShowsItsLabelsWhetherItLeadsOrWaits(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	o := observe(t, client, ttl)
	shows(t, o)
	labels := []map[string]string{{"colour": "red", "size": "<1>"}, nil, {"colour": "blue"}}
	first := play(t, client, leader.Config{ID: "a", Labels: labels[0]})
	l := first.next(t)
	shows(t, o, "a")
	play(t, client, leader.Config{ID: "b", Labels: labels[1]})
	shows(t, o, "a", "b")
	play(t, client, leader.Config{ID: "c", Labels: labels[2]})
	shows(t, o, "a", "b", "c")
	var got []map[string]string
	for _, c := range proclaimed(t, o, l).Candidates {
		got = append(got, c.Labels)
	}
	if diff := cmp.Diff(labels, got); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	raw, err := client.Get(t.Context(), prefix+"/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range raw.Kvs {
		// What a program reads that knows nothing of labels.
		var old struct {
			ID, Address string
			Since       time.Time
		}
		if err := json.Unmarshal(kv.Value, &old); err != nil || old.ID == "" || old.Since.IsZero() {
			t.Errorf("an older program reads %s as %+v: %v", kv.Value, old, err)
		}
	}
}

// What others say of themselves can be anything, and may change.
func TestLabelsThatChangeAreAChange(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	o := observe(t, client, never)
	shows(t, o)
	for _, value := range []string{`{"id":"x","labels":{"a":"1"}}`, `{"id":"x","labels":{"a":"2"}}`, `{"id":"x"}`} {
		changed := o.Changed()
		if _, err := client.Put(t.Context(), prefix+"/by-hand", value); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-time.After(patience):
			t.Fatalf("%s is no change", value)
		}
		var want leader.Proclamation
		if err := json.Unmarshal([]byte(value), &want); err != nil {
			t.Fatal(err)
		}
		if got := o.Election().Leader.Labels; fmt.Sprint(got) != fmt.Sprint(want.Labels) {
			t.Errorf("labels %v, want %v", got, want.Labels)
		}
	}
	if _, err := client.Put(t.Context(), prefix+"/by-hand", `{"id":"x","labels":["a"]}`); err != nil {
		t.Fatal(err)
	}
	shows(t, o, "")
}
