package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

var (
	report  = token.Request{Kind: token.RequestReport, Name: "t", Version: 3}
	done    = token.Reply{Verdict: token.VerdictDone}
	spent   = token.Reply{Verdict: token.VerdictExhausted, RetryAfter: 20 * time.Second, Reason: "4 of today's 4 fetches are spent"}
	refused = token.Reply{
		Verdict: token.VerdictFailed, RetryAfter: time.Minute, Failure: &token.Failure{
			Outcome: token.OutcomeNone, Class: token.Address, Written: true, Code: "40164", Meaning: "the address is not listed",
			Remedy: "list 192.0.2.1", Message: "invalid ip 192.0.2.1", RetryAfter: time.Second, At: time.Unix(1764000000, 5000).UTC(),
		},
	}
)

// answered is what came of asking.
type answered struct {
	reply token.Reply
	err   error
}

// ask asks in the background.
func ask(ctx context.Context, r *replica, req token.Request) <-chan answered {
	result := make(chan answered, 1)
	go func() {
		reply, err := r.Ask(ctx, req)
		result <- answered{reply, err}
	}()
	return result
}

func mustBeAnswered(t *testing.T, want token.Reply, result <-chan answered) {
	t.Helper()
	select {
	case got := <-result:
		if d := diff(want, got.reply); d != "" || got.err != nil {
			t.Errorf("error %v, reply (-want +got):\n%s", got.err, d)
		}
	case <-time.After(patience):
		t.Error("no reply")
	}
}

// awaitLetters waits until n requests wait for the leader's answer.
func (r *replica) awaitLetters(t *testing.T, n int) []store.Letter {
	t.Helper()
	deadline := time.After(patience)
	for {
		letters, _, changed := r.Waiting()
		if len(letters) == n {
			return letters
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%d requests wait, want %d", len(letters), n)
		}
	}
}

// running returns a replica whose feed runs and is in sync.
func running(t *testing.T, client *clientv3.Client, id string) *replica {
	t.Helper()
	r := newReplica(t, client, func(cfg *store.Config) { cfg.Replica = id })
	r.run(t)
	eventually(t, id+" is in sync", r.view.InSync)
	return r
}

func mustAnswer(t *testing.T, leader *replica, req token.Request, reply token.Reply) {
	t.Helper()
	if err := leader.Answer(t.Context(), req, reply); err != nil {
		t.Fatal(err)
	}
}

func TestTheReplyReachesWhoeverAskedOnWhicheverReplica(t *testing.T) {
	for _, want := range []token.Reply{done, spent, refused, {Verdict: token.VerdictUnchanged, Reason: "the upstream accepts the token"}} {
		etcd := etcdtest.Start(t)
		client := etcd.Client(t)
		a, b, leader := running(t, client, "a"), running(t, client, "b"), running(t, client, "leader")
		var results []<-chan answered
		for range 5 {
			results = append(results, ask(t.Context(), a, report), ask(t.Context(), b, report))
		}
		letters := leader.awaitLetters(t, 1)
		got := letters[0].Request
		if got.Kind != report.Kind || got.Name != report.Name || got.Version != report.Version || got.Force || got.At.IsZero() || got.From != "a" && got.From != "b" {
			t.Errorf("the leader is asked %+v", got)
		}
		mustAnswer(t, leader, got, want)
		for _, result := range results {
			mustBeAnswered(t, want, result)
		}
		leader.awaitLetters(t, 0)
	}
}

func TestManyWhoAskTheSameMakeOneKey(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	a, b := running(t, client, "a"), running(t, client, "b")
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 20 {
		for _, r := range []*replica{a, b} {
			group.Go(func() { _, _ = r.Ask(ctx, report) })
		}
	}
	first := a.awaitLetters(t, 1)[0].Revision
	// Leases are cleared up where the key was there already.
	eventually(t, "one lease is left", func() bool {
		leases, err := client.Leases(t.Context())
		return err == nil && len(leases.Leases) == 1
	})
	if d := diff([]string{"request/report/t/3"}, keys(t, client, prefix+"request/")); d != "" {
		t.Errorf("the requests in the store (-want +got):\n%s", d)
	}
	if kv := find(t, client, prefix+"request/report/t/3"); kv.puts != 1 || kv.mod != first {
		t.Errorf("the request was written %d times, the last time at revision %d, first at %d", kv.puts, kv.mod, first)
	}
	cancel()
	group.Wait()
}

func TestRequestsThatDifferDoNotShareAnAnswer(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	r := running(t, client, "r")
	requests := map[string]token.Request{
		"request/report/t/3":        report,
		"request/report/t/4":        {Kind: token.RequestReport, Name: "t", Version: 4},
		"request/report/s/3":        {Kind: token.RequestReport, Name: "s", Version: 3},
		"request/refresh/t/3":       {Kind: token.RequestRefresh, Name: "t", Version: 3},
		"request/refresh-force/t/3": {Kind: token.RequestRefresh, Name: "t", Version: 3, Force: true},
		"request/resign/3":          {Kind: token.RequestResign, Version: 3},
	}
	results := map[string]<-chan answered{}
	for key, req := range requests {
		results[key] = ask(t.Context(), r, req)
	}
	letters := r.awaitLetters(t, len(requests))
	for key := range requests {
		if find(t, client, prefix+key) == nil {
			t.Errorf("there is no %s among %q", key, keys(t, client, prefix+"request/"))
		}
	}
	for _, letter := range letters {
		mustAnswer(t, r, letter.Request, token.Reply{Verdict: token.VerdictDone, Reason: fmt.Sprint(letter.Kind, letter.Force, letter.Name, letter.Version)})
	}
	for key, req := range requests {
		mustBeAnswered(t, token.Reply{Verdict: token.VerdictDone, Reason: fmt.Sprint(req.Kind, req.Force, req.Name, req.Version)}, results[key])
	}
}

func TestAReplyThatIsStillThereAnswersWithoutACall(t *testing.T) {
	etcd, w := etcdtest.Start(t), newWire()
	leader := running(t, etcd.Client(t), "leader")
	// Its feed makes one call and then only watches.
	r := newReplica(t, etcd.Client(t, w.options()...), func(cfg *store.Config) { cfg.SyncEvery = time.Hour })
	r.run(t)
	first := ask(t.Context(), r, report)
	mustAnswer(t, leader, leader.awaitLetters(t, 1)[0].Request, spent)
	mustBeAnswered(t, spent, first)

	calls := w.total()
	for range 100 {
		mustBeAnswered(t, spent, ask(t.Context(), r, report))
	}
	if now := w.total(); now != calls {
		t.Errorf("100 repeated requests made %d calls to etcd", now-calls)
	}
}

func TestARequestAndItsReplyHangOnLeases(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	r := running(t, client, "r")
	granted := func() int64 {
		t.Helper()
		kv := find(t, client, prefix+"request/report/t/3")
		lease, err := client.TimeToLive(t.Context(), kv.lease)
		if err != nil || kv.lease == clientv3.NoLease {
			t.Fatalf("lease %x: %v", kv.lease, err)
		}
		return lease.GrantedTTL
	}
	result := ask(t.Context(), r, report)
	letter := r.awaitLetters(t, 1)[0]
	if got := granted(); got != 600 {
		t.Errorf("a request lives %d s, want ten minutes", got)
	}
	for retryAfter, want := range map[time.Duration]int64{
		0: 5, time.Second: 5, 7 * time.Second: 7, 30 * time.Second: 30, time.Hour: 30,
	} {
		mustAnswer(t, r, letter.Request, token.Reply{Verdict: token.VerdictDone, RetryAfter: retryAfter})
		if got := granted(); got != want {
			t.Errorf("a reply that says to come back after %v lives %d s, want %d", retryAfter, got, want)
		}
	}
	<-result
}

func TestWhenTheReplyExpiredTheLeaderIsAskedAnew(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	r := running(t, client, "r")
	result := ask(t.Context(), r, report)
	mustAnswer(t, r, r.awaitLetters(t, 1)[0].Request, spent)
	mustBeAnswered(t, spent, result)

	_, _, gone := r.Waiting()
	if _, err := client.Revoke(t.Context(), find(t, client, prefix+"request/report/t/3").lease); err != nil { // as its expiry would
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("the end of the reply is not noticed")
	}
	again := ask(t.Context(), r, report)
	mustAnswer(t, r, r.awaitLetters(t, 1)[0].Request, done)
	mustBeAnswered(t, done, again)
}

// The reply of an earlier request, which the watch still has to take away, is no answer.
func TestAReplyToAnEarlierRequestIsNoAnswer(t *testing.T) {
	etcd, wire := etcdtest.Start(t), newWire()
	direct := etcd.Client(t)
	leader := running(t, direct, "leader")
	r := newReplica(t, etcd.Client(t, wire.options()...), nil)
	r.run(t)
	eventually(t, "the view is in sync", r.view.InSync)

	hear := wire.deafen()
	first := ask(t.Context(), r, report)
	mustAnswer(t, leader, leader.awaitLetters(t, 1)[0].Request, spent)
	if _, err := direct.Revoke(t.Context(), find(t, direct, prefix+"request/report/t/3").lease); err != nil {
		t.Fatal(err)
	}
	second := ask(t.Context(), r, report)
	mustAnswer(t, leader, leader.awaitLetters(t, 1)[0].Request, done)
	hear()
	mustBeAnswered(t, done, second)
	if got := <-first; got.err != nil {
		t.Errorf("the first request got the error %v", got.err)
	}
}

// A reply that is about to expire is found in the store by the question itself. The feed, which tells of its end a moment later, brings
// nothing more.
func TestAReplyThatIsFoundWhereTheRequestWasToGoAnswers(t *testing.T) {
	etcd, wire := etcdtest.Start(t), newWire()
	leader := running(t, etcd.Client(t), "leader")
	r := newReplica(t, etcd.Client(t, wire.options()...), nil)
	r.run(t)
	eventually(t, "the view is in sync", r.view.InSync)

	hear := wire.deafen()
	first := ask(t.Context(), r, report)
	mustAnswer(t, leader, leader.awaitLetters(t, 1)[0].Request, spent)
	mustBeAnswered(t, spent, ask(t.Context(), r, report))
	hear()
	mustBeAnswered(t, spent, first)
}

func TestARequestOutlivesItsLeader(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	r := running(t, client, "r")
	old := newReplica(t, client, nil)
	stop := old.run(t)
	result := ask(t.Context(), r, report)
	letter := old.awaitLetters(t, 1)[0]
	stop() // it dies

	next := running(t, client, "next")
	found := next.awaitLetters(t, 1)[0]
	if d := diff(letter, found); d != "" {
		t.Errorf("the next leader found another request (-first +next):\n%s", d)
	}
	mustAnswer(t, next, found.Request, done)
	mustBeAnswered(t, done, result)
}

func TestARequestWhoseAnswerWasLostIsMadeOnce(t *testing.T) {
	etcd, wire := etcdtest.Start(t), newWire()
	leader := running(t, etcd.Client(t), "leader")
	client := etcd.Client(t, wire.options()...)
	r := running(t, client, "r")
	wire.loseAnswers(1, "Txn", false)
	result := ask(t.Context(), r, report)
	letter := leader.awaitLetters(t, 1)[0]
	eventually(t, "the request was repeated", func() bool { return wire.count("Txn") == 2 })
	if kv := find(t, client, prefix+"request/report/t/3"); kv.mod != letter.Revision || kv.puts != 1 {
		t.Errorf("the request was written %d times, at revision %d and then at %d", kv.puts, letter.Revision, kv.mod)
	}
	mustAnswer(t, leader, letter.Request, done)
	mustBeAnswered(t, done, result)
}

func TestAskWaitsUntilItsContextEnds(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	r := running(t, client, "r")
	ctx, cancel := context.WithCancel(t.Context())
	unheard := ask(ctx, r, report) // no leader
	r.awaitLetters(t, 1)
	cancel()
	if got := <-unheard; !errors.Is(got.err, context.Canceled) {
		t.Errorf("error %v, reply %+v, want the context's error", got.err, got.reply)
	}
	etcd.Stop()
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	other := report
	other.Version++
	if got := <-ask(ctx, r, other); !errors.Is(got.err, context.DeadlineExceeded) {
		t.Errorf("without etcd: error %v, reply %+v, want the context's error", got.err, got.reply)
	}
}

func TestARequestThatCannotBeReadIsIgnored(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	for key, stored := range map[string]string{
		"request/report/t/3": `{`, "request/report/t/4": `{"schema":2,"request":{"kind":"report"}}`, "request/report/t/5": ``,
	} {
		if _, err := client.Put(t.Context(), prefix+key, stored); err != nil {
			t.Fatal(err)
		}
	}
	r := running(t, client, "r")
	result := ask(t.Context(), r, token.Request{Kind: token.RequestReport, Name: "t", Version: 6})
	letter := r.awaitLetters(t, 1)[0]
	if letter.Version != 6 {
		t.Errorf("the leader is asked %+v", letter)
	}
	mustAnswer(t, r, letter.Request, done)
	mustBeAnswered(t, done, result)
}

func TestTheLeaderIsToldOfOrphans(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	r := running(t, client, "r")
	l := r.Ledger("t", elect(t, client, r.Store, "1"))
	told := func(name, attempt string, changed <-chan struct{}) {
		t.Helper()
		want := find(t, client, prefix+"orphan/"+name+"/"+attempt).mod
		for {
			_, orphans, next := r.Waiting()
			if orphans[name] == want {
				return
			}
			if changed == nil {
				changed = next
			}
			select {
			case <-changed:
				changed = next
			case <-time.After(patience):
				t.Fatalf("told of orphans at %v, want %s at %d", orphans, name, want)
			}
		}
	}
	_, orphans, changed := r.Waiting()
	if len(orphans) != 0 {
		t.Errorf("told of orphans: %v", orphans)
	}
	leave(t, l, granted("a"))
	told("t", "a", changed)
	_, _, changed = r.Waiting()
	leave(t, l, granted("b"))
	told("t", "b", changed)
	leave(t, r.Ledger("s", store.Fence{}), granted("c"))
	told("s", "c", nil)

	late := running(t, client, "late") // finds them by its load
	_, orphans, _ = late.Waiting()
	if d := diff(map[string]int64{
		"t": find(t, client, prefix+"orphan/t/b").mod, "s": find(t, client, prefix+"orphan/s/c").mod,
	}, orphans); d != "" {
		t.Errorf("told of orphans (-want +got):\n%s", d)
	}
}

// The feed takes expired replies away. A replica that is cut off does not hear of it.
func TestAReplyThatMustHaveExpiredDoesNotAnswerWhoIsCutOff(t *testing.T) {
	for _, reply := range []struct {
		reply token.Reply
		life  time.Duration
	}{{done, 5 * time.Second}, {spent, 20 * time.Second}, {refused, 30 * time.Second}} {
		etcd := etcdtest.Start(t)
		proxy, hands := etcd.Proxy(t), &hands{}
		leader := running(t, etcd.Client(t), "leader")
		r := newReplica(t, proxy.Client(t), func(cfg *store.Config) { cfg.Clock = clock.FromSource(hands.read) })
		r.run(t)
		result := ask(t.Context(), r, report)
		mustAnswer(t, leader, leader.awaitLetters(t, 1)[0].Request, reply.reply)
		mustBeAnswered(t, reply.reply, result)

		proxy.Hold(etcdtest.Both)
		hands.passed.Store(int64(reply.life - 1))
		mustBeAnswered(t, reply.reply, ask(t.Context(), r, report))
		hands.passed.Store(int64(reply.life))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if got := <-ask(ctx, r, report); !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("a reply of %v answered with %+v, error %v", reply.life, got.reply, got.err)
		}
		cancel()
	}
}

// The watch may tell of a request after a load found its reply.
func TestWhatTheWatchTellsLateBringsNoRequestBack(t *testing.T) {
	etcd, wire := etcdtest.Start(t), newWire()
	w := newWriter(t, etcd)
	leader := running(t, etcd.Client(t), "leader")
	r := newReplica(t, etcd.Client(t, wire.options()...), nil)
	r.run(t)
	eventually(t, "the view is in sync", r.view.InSync)

	hear := wire.deafen()
	result := ask(t.Context(), r, report)
	mustAnswer(t, leader, leader.awaitLetters(t, 1)[0].Request, spent)
	w.write("t", version(1)) // which the replica misses, and so reads everything
	mustBeAnswered(t, spent, result)
	other := report
	other.Version++
	ctx, cancel := context.WithCancel(t.Context())
	second := ask(ctx, w.replica, other)

	letters, _, changed := r.Waiting()
	hear()
	for deadline := time.After(patience); len(letters) == 0; letters, _, changed = r.Waiting() {
		select {
		case <-changed:
		case <-deadline:
			t.Fatal("the second request is never heard of")
		}
		mustBeAnswered(t, spent, ask(t.Context(), r, report))
	}
	if len(letters) != 1 || letters[0].Version != other.Version {
		t.Errorf("waiting: %+v, want the second request only", letters)
	}
	cancel()
	<-second
}
