package store_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/store"
)

// refusedUntilMended has a call made that etcd refuses, checks that the log says so loudly and once, and mends it.
func refusedUntilMended(t *testing.T, book *logtest.Buffer, remedy string, call func(context.Context) error, mend func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call(t.Context()) }()
	eventually(t, "the log tells what to do", func() bool { return len(book.Lines("level=ERROR", "etcd refuses", remedy)) > 0 })
	mend()
	if err := <-done; err != nil {
		t.Errorf("mended, the call fails: %v", err)
	}
	if got := book.Lines("etcd refuses"); len(got) != 1 {
		t.Errorf("the log says it %d times:\n%s", len(got), strings.Join(got, ""))
	}
}

func TestWhatEtcdHasNoSpaceForIsWrittenWhenItHas(t *testing.T) {
	client, book := etcdtest.Start(t).Client(t), &logtest.Buffer{}
	r := newReplica(t, client, func(cfg *store.Config) { cfg.Logger = slog.New(slog.NewTextHandler(book, nil)) })
	l := r.Ledger("t", elect(t, client, r.Store, "1"))
	alarm := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE}
	if _, err := pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(t.Context(), alarm); err != nil {
		t.Fatal(err)
	}
	refusedUntilMended(t, book, "etcd is full", func(ctx context.Context) error { return l.Leave(ctx, granted("a")) }, func() {
		if _, err := client.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
			t.Error(err)
		}
	})
	if got := keys(t, client, prefix+"orphan/"); len(got) != 1 {
		t.Errorf("there are the orphans %v", got)
	}
}

// guarded is an etcd that asks for passwords, and knows root and a broker who may do nothing.
type guarded struct{ *etcdtest.Server }

func newGuarded(t *testing.T, server *etcdtest.Server) guarded {
	t.Helper()
	root := server.Client(t)
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(root.UserAdd(t.Context(), "root", "r"))
	do(root.UserGrantRole(t.Context(), "root", "root"))
	do(root.UserAdd(t.Context(), "broker", "b"))
	do(root.RoleAdd(t.Context(), "broker"))
	do(root.UserGrantRole(t.Context(), "broker", "broker"))
	do(root.AuthEnable(t.Context()))
	return guarded{server}
}

// as returns a client of a user, who is broker or root.
func (g guarded) as(t *testing.T, user string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{g.Endpoint()}, Username: user, Password: user[:1], Logger: embedded.ZapLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// permit lets the broker read and write everything below prefix.
func (g guarded) permit(t *testing.T) {
	t.Helper()
	all := clientv3.PermissionType(clientv3.PermReadWrite)
	if _, err := g.as(t, "root").RoleGrantPermission(t.Context(), "broker", prefix, clientv3.GetPrefixRangeEnd(prefix), all); err != nil {
		t.Fatal(err)
	}
}

func TestWhatTheUserMayNotWriteIsWrittenWhenItMay(t *testing.T) {
	server, book := etcdtest.Start(t), &logtest.Buffer{}
	fence := elect(t, server.Client(t), newReplica(t, server.Client(t), nil).Store, "1")
	g := newGuarded(t, server)
	r := newReplica(t, g.as(t, "broker"), func(cfg *store.Config) { cfg.Logger = slog.New(slog.NewTextHandler(book, nil)) })
	write := func(ctx context.Context) error {
		_, err := r.Ledger("t", fence).Write(ctx, 0, version(1))
		return err
	}
	refusedUntilMended(t, book, "grant the broker's etcd user", write, func() { g.permit(t) })
	if find(t, g.as(t, "root"), recordKey) == nil {
		t.Error("nothing was written")
	}
}

func TestWhatTheUserMayNotReadIsReadWhenItMay(t *testing.T) {
	g, book := newGuarded(t, etcdtest.Start(t)), &logtest.Buffer{}
	r := newReplica(t, g.as(t, "broker"), func(cfg *store.Config) { cfg.Logger = slog.New(slog.NewTextHandler(book, nil)) })
	refusedUntilMended(t, book, "grant the broker's etcd user", func(ctx context.Context) error {
		r.run(t)
		eventually(t, "the view is loaded", func() bool { return r.view.Revision() > 0 || ctx.Err() != nil })
		return ctx.Err()
	}, func() { g.permit(t) })
	if got := book.Lines("interrupted"); len(got) != 0 {
		t.Errorf("what is refused is told as an interruption too:\n%s", strings.Join(got, ""))
	}
}
