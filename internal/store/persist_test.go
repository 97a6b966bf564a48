package store_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/store"
)

// logbook is a log that a test reads.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// lines returns those that contain all of the texts.
func (b *logbook) lines(texts ...string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
	for line := range strings.Lines(b.text.String()) {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			found = append(found, line)
		}
	}
	return found
}

// refusedUntilMended has a call made that etcd refuses, checks that the log says so loudly and once, and mends it.
func refusedUntilMended(t *testing.T, book *logbook, remedy string, call func(context.Context) error, mend func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call(t.Context()) }()
	eventually(t, "the log tells what to do", func() bool { return len(book.lines("level=ERROR", "etcd refuses", remedy)) > 0 })
	mend()
	if err := <-done; err != nil {
		t.Errorf("mended, the call fails: %v", err)
	}
	if got := book.lines("etcd refuses"); len(got) != 1 {
		t.Errorf("the log says it %d times:\n%s", len(got), strings.Join(got, ""))
	}
}

func TestWhatEtcdHasNoSpaceForIsWrittenWhenItHas(t *testing.T) {
	client, book := etcdtest.Start(t).Client(t), &logbook{}
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

func TestWhatTheUserMayNotWriteIsWrittenWhenItMay(t *testing.T) {
	server, book := etcdtest.Start(t), &logbook{}
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
	fence := elect(t, root, newReplica(t, root, nil).Store, "1")
	do(root.AuthEnable(t.Context()))
	as := func(user, password string) *clientv3.Client {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Endpoint()}, Username: user, Password: password, Logger: embedded.ZapLogger(slog.New(slog.DiscardHandler))})
		do(nil, err)
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	r := newReplica(t, as("broker", "b"), func(cfg *store.Config) { cfg.Logger = slog.New(slog.NewTextHandler(book, nil)) })
	write := func(ctx context.Context) error {
		_, err := r.Ledger("t", fence).Write(ctx, 0, version(1))
		return err
	}
	root = as("root", "r")
	refusedUntilMended(t, book, "grant the broker's etcd user", write, func() {
		do(root.RoleGrantPermission(t.Context(), "broker", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite)))
	})
	if find(t, root, recordKey) == nil {
		t.Error("nothing was written")
	}
}
