package leader_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/leader"
)

// never is a TTL so long that an Observer of it does not read again by itself.
const never = time.Hour

// observe runs an Observer until the test ends.
func observe(t *testing.T, client *clientv3.Client, ttl time.Duration) *leader.Observer {
	t.Helper()
	o := leader.NewObserver(client, leader.Config{Prefix: prefix, TTL: ttl})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return o
}

// shows waits until the observer shows these candidates, named by their ids.
func shows(t *testing.T, o *leader.Observer, ids ...string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := o.Changed()
		e := o.Election()
		var got []string
		for _, c := range e.Candidates {
			got = append(got, c.ID)
		}
		if e.Revision > 0 && cmp.Equal(got, ids) {
			switch {
			case len(ids) == 0 && e.Leader != nil:
				t.Errorf("the leader of nobody is %v", e.Leader)
			case len(ids) > 0 && (e.Leader == nil || e.Leader.Key != e.Candidates[0].Key):
				t.Errorf("the leader is %v, want the first of %v", e.Leader, e.Candidates)
			}
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the observer shows %v at revision %d, want %v", got, e.Revision, ids)
		}
	}
}

// proclaimed waits until the observer shows what the leader said of itself when it won, and returns what it shows.
func proclaimed(t *testing.T, o *leader.Observer, l *lead) leader.Election {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := o.Changed()
		if e := o.Election(); e.Leader != nil && e.Leader.Key == l.term.Key && e.Leader.Since.Equal(l.term.Since) {
			return e
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the observer shows %+v, not term %d", o.Election(), l.term.Revision)
		}
	}
}

func TestObserverFollowsTheElection(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client := server.Client(t)
	o := observe(t, client, never)
	if got := leader.NewObserver(client, leader.Config{}).Election(); got.Leader != nil || got.Revision != 0 {
		t.Errorf("an observer that has not run shows %+v", got)
	}
	shows(t, o)

	a := play(t, client, leader.Config{ID: "a", Address: "host:1"})
	l := a.next(t)
	e := proclaimed(t, o, l)
	want := leader.Candidate{
		Proclamation: leader.Proclamation{ID: "a", Address: "host:1", Since: l.term.Since},
		Key:          l.term.Key,
		Revision:     l.term.Revision,
	}
	if diff := cmp.Diff(want, *e.Leader); diff != "" {
		t.Errorf("leader (-want +got):\n%s", diff)
	}
	b := play(t, client, leader.Config{ID: "b"})
	shows(t, o, "a", "b")
	a.Resign(l.term.Revision)
	b.next(t)
	shows(t, o, "b", "a")
	a.stop(errTestOver)
	shows(t, o, "b")
	b.stop(errTestOver)
	shows(t, o)
}

func TestObserverTellsOfChangesOnly(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	o := observe(t, client, ttl)
	p := play(t, client, leader.Config{ID: "a"})
	l := p.next(t)
	proclaimed(t, o, l)
	// It reads the election again meanwhile, and learns of other revisions.
	changed, at := o.Changed(), o.Election().Revision
	if _, err := client.Put(t.Context(), "unrelated", ""); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); o.Election().Revision <= at; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the observer has not read the election again")
		}
	}
	select {
	case <-changed:
		t.Errorf("nothing changed, but the observer said so: %+v", o.Election())
	default:
	}
}

func TestObserverSurvivesWhatOthersPut(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	o := observe(t, client, never)
	shows(t, o)
	for _, value := range []string{"not JSON", "", `{"id":7}`, `{"id":"x","since":"yesterday"}`, `[]`, "\xff"} {
		changed := o.Changed()
		r, err := client.Put(t.Context(), prefix+"/by-hand", value)
		if err != nil {
			t.Fatal(err)
		}
		for o.Election().Revision < r.Header.Revision {
			select {
			case <-changed:
			case <-time.After(10 * time.Millisecond): // a change of nothing that shows
			}
		}
		if diff := cmp.Diff(leader.Proclamation{}, o.Election().Leader.Proclamation); diff != "" {
			t.Errorf("proclamation of %q (-want +got):\n%s", value, diff)
		}
	}
	play(t, client, leader.Config{ID: "a"})
	shows(t, o, "", "a")
	if _, err := client.Delete(t.Context(), prefix+"/by-hand"); err != nil {
		t.Fatal(err)
	}
	shows(t, o, "a")
}

func TestObserverSurvivesCompactionWhileCutOff(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client, proxy := server.Client(t), server.Proxy(t)
	o := observe(t, proxy.Client(t), 10*time.Second)
	p := play(t, client, leader.Config{ID: "a"})
	shows(t, o, "a")
	proxy.Cut()
	p.stop(errTestOver)
	queued(t, client, 0)
	r, err := client.Put(t.Context(), "unrelated", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	proxy.Heal()
	shows(t, o)
}

func TestObserverSurvivesRestartsOfEtcd(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	o := observe(t, server.Client(t), 10*time.Second)
	proclaimed(t, o, play(t, server.Client(t), leader.Config{ID: "a"}).next(t))
	for _, id := range []string{"b", "c"} {
		server.Restart(t)
		p := play(t, server.Client(t), leader.Config{ID: id})
		shows(t, o, "a", id)
		p.stop(errTestOver)
		shows(t, o, "a")
	}
}

func TestObserverWithASilentWatchIsLateAtMost(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	o := observe(t, server.Client(t, muteWatches()), ttl)
	shows(t, o)
	p := play(t, server.Client(t), leader.Config{ID: "a"})
	shows(t, o, "a")
	p.stop(errTestOver)
	shows(t, o)
}

func TestObserverWithoutAWatchReadsAgain(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	o := observe(t, server.Client(t, stallWatches()), ttl)
	shows(t, o)
	play(t, server.Client(t), leader.Config{ID: "a"})
	shows(t, o, "a")
}

func TestObserverCutOffInTheMiddleComesBack(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	client, proxy := server.Client(t), server.Proxy(t)
	o := observe(t, proxy.Client(t), never)
	shows(t, o)
	proxy.Hold(etcdtest.Both)
	play(t, client, leader.Config{ID: "a"}).next(t)
	if got := o.Election(); got.Leader != nil {
		t.Errorf("cut off, the observer shows %+v", got)
	}
	proxy.Heal()
	shows(t, o, "a")
}
