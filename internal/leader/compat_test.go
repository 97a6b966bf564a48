package leader_test

import (
	"context"
	"encoding/json"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency" //nolint:depguard // what etcdctl elect runs; the test is that it understands our keys

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/leader"
)

// `etcdctl elect -l PREFIX` prints what Election.Observe says; `etcdctl elect PREFIX VALUE` campaigns.
func TestEtcdsOwnElectionUnderstandsOurs(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	a := play(t, client, leader.Config{ID: "a", Address: "host:1"})
	l := a.next(t)

	session, err := concurrency.NewSession(client)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	theirs := concurrency.NewElection(session, prefix)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := theirs.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	says(t, got, l, "a")
	observed := theirs.Observe(ctx)
	first := <-observed
	says(t, first, l, "a")

	// We wait for them, and they for us.
	campaigned := make(chan error, 1)
	go func() { campaigned <- theirs.Campaign(ctx, "by hand") }()
	queued(t, client, 2)
	b := play(t, client, leader.Config{ID: "b"})
	queued(t, client, 3)
	select {
	case err := <-campaigned:
		t.Fatalf("they lead beside us: %v", err)
	default:
	}
	a.stop(errTestOver)
	if err := <-campaigned; err != nil {
		t.Fatal(err)
	}
	b.none(t)
	if err := theirs.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	l = b.next(t)
	for r := range observed {
		if string(r.Kvs[0].Key) == l.term.Key {
			says(t, r, l, "b")
			break
		}
	}
}

func says(t *testing.T, r *clientv3.GetResponse, l *lead, id string) {
	t.Helper()
	var p leader.Proclamation
	if string(r.Kvs[0].Key) != l.term.Key || json.Unmarshal(r.Kvs[0].Value, &p) != nil || p.ID != id {
		t.Errorf("etcd's election says %v, want %s in term %d", r.Kvs, id, l.term.Revision)
	}
}
