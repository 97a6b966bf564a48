package store_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// switchboard connects a client to one etcd, and later to another.
type switchboard struct {
	target atomic.Pointer[etcdtest.Proxy]
}

func (s *switchboard) client(t *testing.T, options ...grpc.DialOption) *clientv3.Client {
	t.Helper()
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(s.target.Load().Endpoint(), "http://"))
	})
	return etcdtest.Dial(t, []string{"http://127.0.0.1:1"}, append(options, dial)...)
}

func (s *switchboard) connect(p *etcdtest.Proxy) {
	if old := s.target.Swap(p); old != nil {
		old.Cut()
	}
}

func TestAStoreThatWentBackIsFollowedAndVersionsAreNot(t *testing.T) {
	var board switchboard
	old, restored := etcdtest.Start(t), etcdtest.Start(t)
	w := newWriter(t, old)
	for n := int64(1); n <= 20; n++ {
		w.write("t", version(n))
		w.write("s", version(n))
	}
	board.connect(old.Proxy(t))
	r := newReplica(t, board.client(t), func(cfg *store.Config) { cfg.Timeout = 300 * time.Millisecond })
	r.run(t)
	r.awaitState(t, "t", view.Active)
	lastKnown := r.view.Revision()

	again := newWriter(t, restored)
	again.write("t", version(3))
	again.write("s", version(3))
	board.connect(restored.Proxy(t))
	eventually(t, "the view is at a revision of the restored store", func() bool { return r.view.Revision() < lastKnown })
	for _, name := range []string{"t", "s"} {
		if got := r.view.Token(name).Read().Record; got.Version != 20 || got.Value != version(20).Value {
			t.Errorf("%s went back to version %d", name, got.Version)
		}
	}
	if got := r.view.Token("t").Read().Record; !got.Doubt {
		t.Error("a rotating token whose record was lost is not in doubt")
	}
	// A leader that has seen version 20 goes on from there.
	again.write("t", token.Record{Version: 20, Doubt: true})
	again.write("t", version(21))
	r.awaitVersion(t, "t", 21)
	r.awaitState(t, "t", view.Active)
	mustHearRequests(t, again, r)
}

// An etcd that others use as well, or whose revisions the restore has raised, is soon at a higher revision than before. Its head tells
// that it went back all the same.
func TestAStoreThatWentBackIsKnownByItsHeadWhereItsRevisionIsAhead(t *testing.T) {
	var board switchboard
	old, restored := etcdtest.Start(t), etcdtest.Start(t)
	w := newWriter(t, old)
	for n := int64(1); n <= 20; n++ {
		w.write("t", version(n))
	}
	board.connect(old.Proxy(t))
	r := newReplica(t, board.client(t), func(cfg *store.Config) { cfg.Timeout = 300 * time.Millisecond })
	r.run(t)
	r.awaitState(t, "t", view.Active)

	again := newWriter(t, restored)
	again.write("t", version(3))
	for range 100 {
		if _, err := again.client.Put(t.Context(), "/others", ""); err != nil {
			t.Fatal(err)
		}
	}
	board.connect(restored.Proxy(t))
	eventually(t, "the replica knows that the store lost version 20", func() bool { return r.view.Ahead()["t"] == 20 })
	again.write("t", version(21))
	r.awaitVersion(t, "t", 21)
	r.awaitState(t, "t", view.Active)
}

// restorations are what tells that etcd went back: its revision, or, where others raised that, its head, or how often that was put.
var restorations = map[string]struct{ before, after int }{
	"by its revision":                       {0, 0},
	"by its head":                           {0, 100},
	"by how often its head has been put":    {100, 0},
	"by that, where much was written since": {100, 100},
}

// others write keys of their own to the same etcd.
func (w *writer) others(n int) {
	w.t.Helper()
	for range n {
		if _, err := w.client.Put(w.t.Context(), "/others", ""); err != nil {
			w.t.Fatal(err)
		}
	}
}

// The backup has the versions that the replica holds, but nothing of what happened to them since.
func TestWhatARestoredStoreForgotOfAVersionIsNotForgotten(t *testing.T) {
	for name, c := range restorations {
		t.Run(name, func(t *testing.T) {
			var board switchboard
			old, restored := etcdtest.Start(t), etcdtest.Start(t)
			w := newWriter(t, old)
			healthy := version(20)
			for range 5 {
				w.write("t", healthy)
				w.write("s", healthy)
			}
			board.connect(old.Proxy(t))
			r := newReplica(t, board.client(t), func(cfg *store.Config) { cfg.Timeout = 300 * time.Millisecond })
			r.run(t)
			r.awaitState(t, "t", view.Active)
			dead := healthy
			dead.Condemned = true
			w.write("s", dead)
			w.write("t", begun(healthy, "a"))
			eventually(t, "the attempt is seen", func() bool { return r.view.Token("t").Read().Record.Pending != nil })

			again := newWriter(t, restored)
			again.others(c.before)
			again.write("t", healthy)
			again.write("s", healthy)
			again.others(c.after)
			board.connect(restored.Proxy(t))
			eventually(t, "the restored record is seen", func() bool { return r.view.Token("t").Read().Record.Pending == nil })
			eventually(t, "it is proved current", func() bool { age, ok := r.view.Age(); return ok && age < 300*time.Millisecond })
			if got := r.view.Token("t").Read(); !got.Record.Doubt {
				t.Error("the rotating token is not in doubt")
			}
			if got := r.view.Token("s").Read(); got.State != view.Expired {
				t.Errorf("the dead token is %v", got.State)
			}
			for _, want := range []token.Request{{Kind: token.RequestDoubt, Name: "t"}, {Kind: token.RequestReport, Name: "s"}} {
				eventually(t, "the leader is told by a "+string(want.Kind), func() bool {
					letters, _, _ := r.Waiting()
					return slices.ContainsFunc(letters, func(l store.Letter) bool {
						return l.Kind == want.Kind && l.Name == want.Name && l.Version == 20
					})
				})
			}
			again.write("t", version(21))
			r.awaitState(t, "t", view.Active)
		})
	}
}

// The watch may be the first to tell, and what it tells then is no news.
func TestTheWatchOfARestoredStoreEndsNoDoubt(t *testing.T) {
	var board switchboard
	old, restored := etcdtest.Start(t), etcdtest.Start(t)
	w := newWriter(t, old)
	w.write("t", version(20))
	board.connect(old.Proxy(t))
	r := newReplica(t, board.client(t), func(cfg *store.Config) { cfg.Timeout, cfg.SyncEvery = 300*time.Millisecond, time.Hour })
	r.run(t)
	r.awaitState(t, "t", view.Active)
	w.write("t", begun(version(20), "a"))
	eventually(t, "the attempt is seen", func() bool { return r.view.Token("t").Read().Record.Pending != nil })

	again := newWriter(t, restored)
	board.connect(restored.Proxy(t))
	again.others(100)
	again.write("t", version(20))
	eventually(t, "the restored record is seen", func() bool { return r.view.Token("t").Read().Record.Pending == nil })
	if !r.view.Token("t").Read().Record.Doubt {
		t.Error("the token is not in doubt")
	}
}

// The leader has written what no watch has told it yet.
func TestWhatALeaderWroteTellsItThatTheStoreWentBack(t *testing.T) {
	var board switchboard
	old, restored := etcdtest.Start(t), etcdtest.Start(t)
	wire := newWire()
	w := newWriter(t, old)
	w.write("t", version(20))
	board.connect(old.Proxy(t))
	r := newReplica(t, board.client(t, wire.options()...), func(cfg *store.Config) { cfg.Timeout, cfg.SyncEvery = 300*time.Millisecond, time.Hour })
	r.run(t)
	r.awaitState(t, "t", view.Active)
	defer wire.deafen()()
	mustWrite(t, r.Ledger("t", w.fence), w.revision["t"], begun(version(20), "a"))

	again := newWriter(t, restored)
	again.write("t", version(20))
	again.others(100)
	board.connect(restored.Proxy(t))
	r.Reload()
	eventually(t, "the token is in doubt", func() bool { return r.view.Token("t").Read().Record.Doubt })
}

// It was restarted while etcd was restored, and a predecessor's memory was kept.
func TestARestartedReplicaNoticesThatTheStoreWentBack(t *testing.T) {
	restored := etcdtest.Start(t)
	again := newWriter(t, restored)
	again.others(100)
	healthy := version(20)
	again.write("t", healthy)
	for name, c := range map[string]struct {
		head, puts int64
		doubt      bool
	}{
		"the head is where it was": {again.revision["t"], 1, false},
		"the head was later":       {again.revision["t"] + 1, 2, true},
		"the head was put since":   {50, 2, true},
	} {
		r := newReplica(t, restored.Client(t), nil)
		r.view.Restore([]view.Held{{Name: "t", Record: healthy, Seen: 20}})
		r.Resume(c.head, c.puts)
		stop := r.run(t)
		eventually(t, "it is loaded", r.view.InSync)
		if got := r.view.Token("t").Read(); got.Record.Doubt != c.doubt {
			t.Errorf("%s: in doubt: %v", name, got.Record.Doubt)
		}
		if head, puts := r.Course(); head != again.revision["t"] || puts != 1 {
			t.Errorf("%s: the course is %d, %d", name, head, puts)
		}
		stop()
	}
}

// A read that was under way when the replica learned that etcd went back is answered after that. It must not be taken for another restore, by
// which what is in the store now would be in doubt, too.
func TestARestoreIsNoticedOnce(t *testing.T) {
	var board switchboard
	old, restored := etcdtest.Start(t), etcdtest.Start(t)
	w, again, wire := newWriter(t, old), newWriter(t, restored), newWire()
	for range 20 {
		w.write("t", version(20))
	}
	again.write("t", version(21)) // the others have healed it
	board.connect(old.Proxy(t))
	r := newReplica(t, board.client(t, wire.options()...), func(cfg *store.Config) { cfg.Timeout = patience })
	r.run(t)
	r.awaitState(t, "t", view.Active)

	answers := wire.slowReads()
	proof := <-answers
	board.connect(restored.Proxy(t))
	r.Reload()
	close(<-answers) // to the load
	r.awaitVersion(t, "t", 21)
	close(proof)
	for range 10 {
		close(<-answers)
		if got := r.view.Doubted(); len(got) != 0 {
			t.Fatalf("in doubt: %v", got)
		}
	}
	wire.allowReads()
	r.awaitState(t, "t", view.Active)
}
