package traffic_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/traffic"
)

// scene is an Observer of a real etcd, one of whose two watches can be held up.
type scene struct {
	client   *clientv3.Client
	proxy    *etcdtest.Proxy
	recorder *history.Recorder
	observer *traffic.Observer
	end      func() error
}

func newScene(t *testing.T) *scene {
	t.Helper()
	etcd := etcdtest.Start(t)
	s := &scene{client: etcd.Client(t), proxy: etcd.Proxy(t), recorder: history.NewRecorder()}
	s.observer = traffic.NewObserver(traffic.ObserverConfig{
		Recorder: s.recorder, Members: []*clientv3.Client{etcd.Client(t), s.proxy.Client(t)}, Namespace: "/tb/", Tokens: []string{"one", "two"},
		Rand: rand.New(rand.NewPCG(1, 1)),
	})
	return s
}

// run starts the observer; end stops it.
func (s *scene) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.observer.Run(ctx) }()
	s.end = func() error { cancel(); return <-ended }
}

func (s *scene) put(t *testing.T, key, value string) int64 {
	t.Helper()
	resp, err := s.client.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.GetRevision()
}

func (s *scene) await(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.observer.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
}

// awaitRevision waits for a revision that only deleted something.
func (s *scene) awaitRevision(t *testing.T, revision int64) {
	t.Helper()
	late := time.After(30 * time.Second)
	for s.observer.Seen() < revision {
		select {
		case <-late:
			t.Fatalf("revision %d is not seen", revision)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func record(version int) string {
	return fmt.Sprintf(`{"schema":1,"write":"w%d","term":5,"version":%d,"sealed":"dmFsdWU=","pending":{"attempt":"a","term":5,"forced":true},
		"doubt":true,"drained":true,"condemned":true,"resolved":{"attempt":"b","outcome":"none"},"spent":{"day":"2026-01-02","fetches":9},"floor":3}`, version, version)
}

func TestEachRevisionIsTakenInOnceAndInOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	first := s.put(t, "/tb/token/one", record(1))
	s.run(t)
	var last int64
	for i := range 50 {
		if i == 20 {
			s.proxy.Hold(etcdtest.Both) // one of the watches lags, and delivers what the other has told long since
		}
		last = s.put(t, "/tb/token/one", record(i+2))
	}
	s.proxy.Heal()
	s.await(t)
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	next := first
	for _, e := range s.recorder.Events() {
		if e.Kind != history.Record {
			continue
		}
		want := history.Stored{
			Revision: next, Version: next - first + 1, Value: "value", Term: 5, Write: fmt.Sprintf("w%d", next-first+1), Attempt: "a", AttemptTerm: 5,
			Forced: true, Doubt: true, Drained: true, Condemned: true, Resolved: "b", Outcome: "none", Fetches: 9, Day: "2026-01-02", Floor: 3,
		}
		if e.Stored == nil || *e.Stored != want || e.Token != "one" {
			t.Fatalf("got %+v, want %+v", e.Stored, want)
		}
		next++
	}
	if next != last+1 {
		t.Errorf("seen up to revision %d of %d", next-1, last)
	}
}

func TestElectionIsToldWithEachChange(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.run(t)
	first := s.put(t, "/tb/election/a", `{"id":"r1"}`)
	second := s.put(t, "/tb/election/b", `{"id":"r2"}`)
	s.put(t, "/tb/election/a", `{"id":"r1"}`) // proclaims itself
	if _, err := s.client.Delete(t.Context(), "/tb/election/a"); err != nil {
		t.Fatal(err)
	}
	s.awaitRevision(t, second+2)
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range s.recorder.Events() {
		if e.Kind == history.Election {
			text := ""
			for _, c := range e.Candidates {
				text += fmt.Sprintf("%s@%d,%v ", c.ID, c.Created-first, c.Proclaimed)
			}
			got = append(got, text)
		}
	}
	want := []string{"r1@0,false ", "r1@0,false r2@1,false ", "r1@0,true r2@1,false ", "r2@1,false "}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRecordsAreReadWhetherOrNotTheyAreThere(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.put(t, "/tb/token/one", record(1))
	s.run(t)
	reads := func() (one, two *history.Event) {
		for _, e := range s.recorder.Events() {
			switch {
			case e.Kind != history.Read:
			case e.Token == "one":
				one = &e
			default:
				two = &e
			}
		}
		return one, two
	}
	late := time.After(30 * time.Second)
	for one, two := reads(); one == nil || two == nil; one, two = reads() {
		select {
		case <-late:
			t.Fatal("the records are not read")
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	if one, two := reads(); one.Stored == nil || one.Stored.Version != 1 || two.Stored != nil || one.Received < one.Sent {
		t.Errorf("read %+v and %+v", one, two)
	}
}

func TestDeletionOfARecordIsSeen(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	revision := s.put(t, "/tb/token/one", record(1))
	s.run(t)
	if _, err := s.client.Delete(t.Context(), "/tb/token/one"); err != nil {
		t.Fatal(err)
	}
	s.awaitRevision(t, revision+1)
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	events := s.recorder.Events()
	var records []history.Event
	for _, e := range events {
		if e.Kind == history.Record {
			records = append(records, e)
		}
	}
	if len(records) != 2 || records[1].Stored != nil {
		t.Errorf("got %+v", records)
	}
}

func TestRevisionsThatWereCompactedUnseenAreAnError(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for i := range 10 {
		s.put(t, "/tb/token/one", record(i+1))
	}
	last := s.put(t, "/tb/token/one", record(11))
	if _, err := s.client.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := s.observer.Run(ctx); !errors.Is(err, traffic.ErrMissed) {
		t.Errorf("got %v", err)
	}
}

func TestRecordThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.run(t)
	s.put(t, "/tb/token/one", "{")
	late := time.AfterFunc(30*time.Second, func() { _ = s.end() })
	defer late.Stop()
	s.await(t)
	if err := s.end(); err == nil {
		t.Error("no error")
	}
}
