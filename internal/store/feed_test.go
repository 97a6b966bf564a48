package store_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// writer is a leader beside the replicas under test, with a connection of its own.
type writer struct {
	t        *testing.T
	client   *clientv3.Client
	replica  *replica
	fence    store.Fence
	revision map[string]int64
}

func newWriter(t *testing.T, etcd *etcdtest.Server) *writer {
	t.Helper()
	client := etcd.Client(t)
	r := newReplica(t, client, nil)
	return &writer{t: t, client: client, replica: r, fence: elect(t, client, r.Store, "writer"), revision: map[string]int64{}}
}

func (w *writer) write(name string, rec token.Record) {
	w.t.Helper()
	w.revision[name] = mustWrite(w.t, w.replica.Ledger(name, w.fence), w.revision[name], rec)
}

func TestTheViewFollowsTheStore(t *testing.T) {
	etcd := etcdtest.Start(t)
	w := newWriter(t, etcd)
	w.write("t", version(1)) // found by the load
	r := newReplica(t, etcd.Client(t), nil)
	r.run(t)
	r.awaitVersion(t, "t", 1)
	w.write("t", version(2)) // told by the watch
	r.awaitVersion(t, "t", 2)
	rec := begun(version(2), "a")
	w.write("t", rec)
	eventually(t, "the view has the pending attempt", func() bool { return r.view.Token("t").Read().Record.Pending != nil })
	w.write("t", version(3))
	w.write("s", version(7))
	r.awaitVersion(t, "s", 7)
	if got := r.view.Token("t").Version(); got != 3 {
		t.Errorf("version 3 was written before, but the view has %d", got)
	}
	if got := r.view.Revision(); got < w.revision["s"] {
		t.Errorf("the view is at revision %d, the last change was at %d", got, w.revision["s"])
	}
	eventually(t, "t is active", func() bool { return r.view.Token("t").Read().State == view.Active })
}

func TestAnEmptyStoreIsAProofToo(t *testing.T) {
	r := newReplica(t, etcdtest.Start(t).Client(t), nil)
	r.run(t)
	eventually(t, "the view is in sync", r.view.InSync)
}

// The first proof comes with the load; more must follow, though nothing happens.
func TestFreshnessIsProvedAgainAndAgain(t *testing.T) {
	etcd := etcdtest.Start(t)
	newWriter(t, etcd).write("t", version(1))
	r := newReplica(t, etcd.Client(t), nil)
	r.run(t)
	eventually(t, "the view is in sync", r.view.InSync)
	start := time.Now()
	eventually(t, "a proof is younger than the load", func() bool {
		age, ok := r.view.Age()
		return ok && age < time.Since(start)-100*time.Millisecond
	})
}

// Reading everything is for the start, and for when the watch does not deliver.
func TestAFeedInPeaceReadsNoMoreThanTheHead(t *testing.T) {
	etcd, wire := etcdtest.Start(t), newWire()
	w := newWriter(t, etcd)
	r := newReplica(t, etcd.Client(t, wire.options()...), nil)
	r.run(t)
	eventually(t, "the view is in sync", r.view.InSync)
	for n := int64(1); n <= 5; n++ {
		w.write("t", version(n))
		r.awaitVersion(t, "t", n)
		reads := wire.count("Range")
		eventually(t, "the head is read", func() bool { return wire.count("Range") > reads+1 })
	}
	if got := wire.count("RangeAll"); got > 2 { // one, and on a very slow machine another
		t.Errorf("everything was read %d times, want once", got)
	}
}

// What happened between the load and the opening of the watch comes in one piece.
func TestChangesThatComeTogetherAreTakenInOneAfterTheOther(t *testing.T) {
	etcd, wire := etcdtest.Start(t), newWire()
	w := newWriter(t, etcd)
	r := newReplica(t, etcd.Client(t, wire.options()...), func(cfg *store.Config) { cfg.SyncEvery = time.Hour })
	open := wire.shutWatches()
	r.run(t)
	eventually(t, "everything was read", func() bool { return r.view.Revision() > 0 })
	w.write("t", version(1))
	w.write("s", version(1))
	w.write("t", begun(version(1), "a"))
	w.write("t", version(2))
	open()
	r.awaitVersion(t, "t", 2)
	eventually(t, "the view is at the last revision", func() bool { return r.view.Revision() == w.revision["t"] })
	if got := r.view.Token("s").Version(); got != 1 {
		t.Errorf("s has version %d, want 1", got)
	}
	if applied, _ := r.view.Applied(w.revision["t"]); !applied {
		t.Error("the view does not know that it has applied the head")
	}
}

// An answer that was under way while a fetch began and ended must not vouch for the time after it.
func TestAProofCountsFromTheSendingOfTheRead(t *testing.T) {
	wire, hands := newWire(), &hands{}
	client := etcdtest.Start(t).Client(t, wire.options()...)
	r := newReplica(t, client, func(cfg *store.Config) { cfg.Clock, cfg.Timeout = clock.FromSource(hands.read), time.Minute })
	answers := wire.slowReads()
	r.run(t)
	next := func() chan struct{} {
		t.Helper()
		select {
		case arrive := <-answers:
			return arrive
		case <-time.After(patience):
			t.Fatal("nothing is read")
			return nil
		}
	}
	slow := next() // the load's answer
	for i := range 3 {
		hands.passed.Add(int64(2 * time.Second))
		close(slow)
		slow = next() // what it brought has been taken in
		if age, ok := r.view.Age(); !ok || age != 2*time.Second {
			t.Errorf("read %d, whose answer took 2s, makes the view %v old (%v)", i, age, ok)
		}
	}
	close(slow)
	drained := make(chan struct{})
	t.Cleanup(func() { <-drained })
	go func() { // let the others pass until the feed is stopped
		defer close(drained)
		for {
			select {
			case arrive := <-answers:
				close(arrive)
			case <-t.Context().Done():
				return
			}
		}
	}()
}

func TestADeletedRecordTakesNothingFromTheView(t *testing.T) {
	etcd := etcdtest.Start(t)
	w := newWriter(t, etcd)
	w.write("t", version(4))
	w.write("s", version(4))
	r := newReplica(t, etcd.Client(t), nil)
	r.run(t)
	r.awaitVersion(t, "t", 4)
	r.awaitVersion(t, "s", 4)
	for _, name := range []string{"s", "t"} {
		if _, err := w.client.Delete(t.Context(), prefix+"token/"+name); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the rotating token is in doubt", func() bool { return r.view.Token("t").Read().Record.Doubt })
	for _, name := range []string{"s", "t"} {
		if got := r.view.Token(name).Read().Record; got.Version != 4 || got.Value.IsZero() {
			t.Errorf("%s went to version %d", name, got.Version)
		}
	}
	if got := r.view.Token("s").Read(); got.State != view.Active || got.Record.Doubt {
		t.Errorf("the idempotent token is %v, in doubt: %v", got.State, got.Record.Doubt)
	}
}

// A newer program may have written it. It may say anything: even that the token is dead.
func TestARecordThatCannotBeReadPutsTheTokenInDoubt(t *testing.T) {
	etcd := etcdtest.Start(t)
	w := newWriter(t, etcd)
	w.write("t", version(4))
	w.write("s", version(4))
	r := newReplica(t, etcd.Client(t), nil)
	r.run(t)
	r.awaitVersion(t, "t", 4)
	r.awaitVersion(t, "s", 4)
	for _, name := range []string{"t", "s"} {
		if _, err := w.client.Put(t.Context(), prefix+"token/"+name, `{"schema":2}`); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is in doubt", func() bool { return r.view.Token(name).Read().Record.Doubt })
		if got := r.view.Token(name).Version(); got != 4 {
			t.Errorf("%s went to version %d", name, got)
		}
	}
	r.awaitState(t, "s", view.Suspect)
	if got := r.view.Ahead(); len(got) != 0 { // such a version would be reported to the leader
		t.Errorf("versions that the store lost: %v", got)
	}
}

func TestAReloadFindsTheRecordsOfTokensThatWereAdded(t *testing.T) {
	etcd := etcdtest.Start(t)
	w := newWriter(t, etcd)
	w.write("added", version(3))
	r := newReplica(t, etcd.Client(t), nil)
	r.run(t)
	eventually(t, "the view is in sync", r.view.InSync)
	r.configure(t, 5*time.Minute, "t", "added")
	r.Reload()
	r.awaitVersion(t, "added", 3)
	w.write("added", version(4)) // and the watch goes on
	r.awaitVersion(t, "added", 4)
}

func TestTheFeedSurvivesTheRestartOfEtcd(t *testing.T) {
	etcd := etcdtest.Start(t)
	w := newWriter(t, etcd)
	w.write("t", version(1))
	r := newReplica(t, etcd.Client(t), func(cfg *store.Config) { cfg.Timeout = 300 * time.Millisecond })
	r.run(t)
	r.awaitVersion(t, "t", 1)
	etcd.Stop()
	eventually(t, "proofs stop", func() bool {
		age, ok := r.view.Age()
		return !ok || age > 500*time.Millisecond
	})
	etcd.Restart(t)
	eventually(t, "the view is proved current again", func() bool {
		age, ok := r.view.Age()
		return ok && age < 500*time.Millisecond
	})
	w.write("t", version(2))
	r.awaitVersion(t, "t", 2)
	mustHearRequests(t, w, r)
}

// mustHearRequests checks that the watch itself is alive: requests move no head, so nothing else brings them.
func mustHearRequests(t *testing.T, w *writer, r *replica) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req := token.Request{Kind: token.RequestRefresh, Name: "t", Version: time.Now().UnixNano()}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_, _ = w.replica.Ask(ctx, req)
	}()
	eventually(t, "the watch tells of a request", func() bool {
		letters, _, _ := r.Waiting()
		return slices.ContainsFunc(letters, func(l store.Letter) bool { return l.Version == req.Version })
	})
	cancel()
	<-asked
}

func TestAfterACompactionTheFeedStartsOver(t *testing.T) {
	etcd := etcdtest.Start(t)
	w := newWriter(t, etcd)
	proxy := etcd.Proxy(t)
	r := newReplica(t, proxy.Client(t), func(cfg *store.Config) { cfg.Timeout = 300 * time.Millisecond })
	w.write("t", version(1))
	r.run(t)
	r.awaitVersion(t, "t", 1)
	ctx, cancel := context.WithCancel(t.Context())
	expires := ask(ctx, w.replica, report)
	request := r.awaitLetters(t, 1)[0]
	leave(t, w.replica.Ledger("t", w.fence), granted("a"))
	eventually(t, "the orphan is known", func() bool { _, orphans, _ := r.Waiting(); return len(orphans) == 1 })
	proxy.Cut()
	for n := int64(2); n <= 20; n++ {
		w.write("t", version(n))
	}
	for _, key := range []string{prefix + "request/report/t/3", prefix + "orphan/t/a"} {
		if _, err := w.client.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := w.client.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Compact(t.Context(), resp.Header.Revision); err != nil {
		t.Fatal(err)
	}
	proxy.Heal()
	r.awaitVersion(t, "t", 20)
	mustHearRequests(t, w, r)
	letters, orphans, _ := r.Waiting()
	if len(orphans) != 0 || slices.Contains(letters, request) {
		t.Errorf("what is gone still waits: %+v, orphans %v", letters, orphans)
	}
	cancel()
	<-expires
}

// A connection that loses everything and stays open: nothing ends, and nothing is told.
func TestInASilentPartitionPromisesRunOut(t *testing.T) {
	const overlap = 2 * time.Second
	etcd := etcdtest.Start(t)
	w := newWriter(t, etcd)
	proxy := etcd.Proxy(t)
	r := newReplica(t, proxy.Client(t), func(cfg *store.Config) { cfg.Timeout = 300 * time.Millisecond })
	r.configure(t, overlap, "t")
	w.write("t", version(1))
	w.write("s", version(1))
	r.run(t)
	r.awaitState(t, "t", view.Active)
	r.awaitState(t, "s", view.Active)

	proxy.Hold(etcdtest.Both)
	w.write("t", version(2)) // goes unheard
	r.awaitState(t, "t", view.Suspect)
	if got := r.view.Token("s").Read().State; got != view.Active {
		t.Errorf("an idempotent token is %v; it rests on no proof", got)
	}
	if age, _ := r.view.Age(); age < token.TimingFor(overlap).W {
		t.Errorf("a proof was made %v ago, although etcd could not be reached", age)
	}
	proxy.Heal()
	r.awaitVersion(t, "t", 2)
	r.awaitState(t, "t", view.Active)
	mustHearRequests(t, w, r)
}

// The watch may lag as long as it likes, while reads are answered.
func TestWhenTheWatchLagsTheStoreIsReadInstead(t *testing.T) {
	etcd, wire := etcdtest.Start(t), newWire()
	w := newWriter(t, etcd)
	w.write("t", version(1))
	r := newReplica(t, etcd.Client(t, wire.options()...), nil)
	r.run(t)
	r.awaitVersion(t, "t", 1)

	hear := wire.deafen()
	for n := int64(2); n <= 4; n++ {
		w.write("t", version(n))
		r.awaitVersion(t, "t", n)
		eventually(t, "the view is proved current", func() bool { age, ok := r.view.Age(); return ok && age < time.Second })
	}
	hear() // now the watch tells of 2 to 4
	mustHearRequests(t, w, r)
	if got := r.view.Token("t").Version(); got != 4 {
		t.Errorf("what the watch told late brought version %d", got)
	}
	w.write("t", version(5))
	r.awaitVersion(t, "t", 5)
}

// While the watch is silent and what it should have told is not read yet, nothing is proved.
func TestALaggingWatchProvesNothing(t *testing.T) {
	etcd, wire := etcdtest.Start(t), newWire()
	w := newWriter(t, etcd)
	w.write("t", version(1))
	r := newReplica(t, etcd.Client(t, wire.options()...), nil)
	r.run(t)
	r.awaitState(t, "t", view.Active)
	defer wire.deafen()()
	w.write("t", begun(version(1), "a"))
	began := time.Now()
	for {
		passed := time.Since(began)
		age, _ := r.view.Age()
		seen := r.view.Token("t").Read().Record.Pending != nil
		switch {
		case seen:
			return
		case age < passed:
			t.Fatalf("%v after an attempt began, which the view has not seen, it was proved current %v ago", passed, age)
		case passed > patience:
			t.Fatal("the attempt is never seen")
		}
		runtime.Gosched()
	}
}

func TestRunLeavesNoGoroutine(t *testing.T) {
	etcd := etcdtest.Start(t)
	for name, disturb := range map[string]func(*etcdtest.Proxy){
		"in peace":        func(*etcdtest.Proxy) {},
		"cut off":         func(p *etcdtest.Proxy) { p.Cut() },
		"in a partition":  func(p *etcdtest.Proxy) { p.Hold(etcdtest.Both) },
		"without answers": func(p *etcdtest.Proxy) { p.Hold(etcdtest.ToClient) },
	} {
		proxy := etcd.Proxy(t)
		r := newReplica(t, proxy.Client(t), nil)
		stop := r.run(t)
		eventually(t, "the view is in sync", r.view.InSync)
		disturb(proxy)
		start := time.Now()
		stop()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: Run took %v to end", name, took)
		}
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if strings.Contains(string(stacks), "internal/store.(*Store)") {
			t.Errorf("%s: Run has ended, but:\n%s", name, stacks)
		}
	}
}

func TestRunEndsWhereEtcdNeverWas(t *testing.T) {
	etcd := etcdtest.Start(t)
	etcd.Stop()
	r := newReplica(t, etcd.Client(t), nil)
	stop := r.run(t)
	stop()
	if r.view.InSync() || r.view.Revision() != 0 {
		t.Error("the view claims to know something")
	}
}

// A replica that fetched alone tells the leader of its version once etcd is back, and goes on until the record accounts for it.
func TestTheLeaderIsToldOfLocalVersions(t *testing.T) {
	etcd := etcdtest.Start(t)
	proxy := etcd.Proxy(t)
	w := newWriter(t, etcd)
	w.write("s", version(1))
	c := clock.New()
	r := newReplica(t, proxy.Client(t), func(cfg *store.Config) { cfg.Timeout, cfg.Clock = 300*time.Millisecond, c })
	r.run(t)
	r.awaitVersion(t, "s", 1)
	proxy.Cut()
	local, served := r.view.Token("s").ServeLocal("", token.NewSecret("fetched alone"), c.Read(), time.Hour)
	if !served {
		t.Fatal("the local value is not served")
	}
	proxy.Heal()
	eventually(t, "the leader is told", func() bool {
		letters, _, _ := r.Waiting()
		return slices.ContainsFunc(letters, func(l store.Letter) bool {
			return l.Kind == token.RequestFloor && l.Name == "s" && l.Version == local
		})
	})
	rec := version(1)
	rec.Floor = local
	w.write("s", rec)
	eventually(t, "the record accounts for it", func() bool { return len(r.view.Unmerged()) == 0 })
	if got := r.view.Token("s").Read(); got.Record.Version != local {
		t.Errorf("version %d is served, want the local one", got.Record.Version)
	}
	w.write("s", version(local+1))
	r.awaitVersion(t, "s", local+1)
}
