package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

const newerVersion = "v99.0.0"

// buildNewer builds a broker of a version that does not exist yet: its records have a member more, in which it notes the write.
func buildNewer(t *testing.T) string {
	t.Helper()
	codec, err := filepath.Abs(filepath.Join(root, "internal", "store", "codec.go"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(codec)
	if err != nil {
		t.Fatal(err)
	}
	for was, is := range map[string]string{
		"type storedRecord struct {\n":              "type storedRecord struct {\n\tNewer string `json:\"newer\"`\n",
		"out := storedRecord{\n\t\tSchema: schema,": "out := storedRecord{\n\t\tNewer: write, Schema: schema,",
	} {
		if bytes.Count(source, []byte(was)) != 1 {
			t.Fatalf("%s has not one place that reads %q", codec, was)
		}
		source = bytes.Replace(source, []byte(was), []byte(is), 1)
	}
	dir := t.TempDir()
	newer, overlay, path := filepath.Join(dir, "codec.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "broker")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{codec: newer}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(newer, source, 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := brokertest.Build(path, "-overlay", overlay, "-ldflags", "-X main.version="+newerVersion); err != nil {
		t.Fatal(err)
	}
	return path
}

// lead has a replica lead, by as many resignations as that takes.
func (s *site) lead(t *testing.T, b *broker) {
	t.Helper()
	for s.awaitCandidates(t, len(s.brokers)) != b {
		old := s.election.last()
		if _, err := b.admin().ResignLeadership(t.Context(), &tokenbrokerv1.ResignLeadershipRequest{}); err != nil {
			t.Fatalf("moving the lead to %s: %v", b.id, err)
		}
		s.election.next(t, old)
	}
}

// written is what matters here of a record as it was written.
type written struct{ Write, Newer string }

// history returns all that was ever written to a record.
func (s *site) history(t *testing.T, name string) []written {
	t.Helper()
	key := "/tokenbroker/token/" + name
	now, err := s.client.Get(t.Context(), key)
	if err != nil || len(now.Kvs) == 0 {
		t.Fatalf("reading the record: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all []written
	for resp := range s.client.Watch(ctx, key, clientv3.WithRev(1)) {
		for _, ev := range resp.Events {
			var w written
			if err := json.Unmarshal(ev.Kv.Value, &w); err != nil {
				t.Fatal(err)
			}
			all = append(all, w)
			if ev.Kv.ModRevision == now.Kvs[0].ModRevision {
				return all
			}
		}
		if err := resp.Err(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the watch ended")
	return nil
}

func TestReplicasAreReplacedByANewerVersionOneAfterTheOther(t *testing.T) {
	t.Parallel()
	newer := buildNewer(t)
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 3, s.bothTokens(), stable, classic)
	tr := startTraffic(t, map[string]*grpc.ClientConn{everyone: dialAll(t, publishedServiceConfig(t), s.brokers...)}, stable, classic)
	tr.goOn(t)
	older, fetches := program, s.fetches()

	// Whoever leads writes the record: the fetch that is ordered is begun, and committed. WeChat answers with the same token, so the
	// order would be answered like the last one, for some seconds, if that answer were still there.
	rewrite := func(b *broker) {
		t.Helper()
		s.lead(t, b)
		if _, err := s.client.Delete(t.Context(), "/tokenbroker/request/", clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		fetches++
		eventually(t, ample, "the token is fetched with "+b.id+" in the lead", func() bool {
			if _, err := b.admin().RefreshToken(t.Context(), &tokenbrokerv1.RefreshTokenRequest{Name: stable}); err != nil {
				t.Fatalf("refreshing: %v", err)
			}
			return s.fetches() == fetches
		})
	}
	replace := func(b *broker, with string) {
		t.Helper()
		b.stop(t)
		b.program = with
		b.restart(t)
		s.awaitCandidates(t, 3)
		if got := b.status(t).GetReplica().GetVersion(); (got == newerVersion) != (with == newer) {
			t.Errorf("%s is of version %s", b.id, got)
		}
		tr.goOn(t)
	}
	first := s.brokers[0]
	replace(first, newer)
	for _, leader := range []*broker{first, s.brokers[1], first} { // the lead goes back and forth between the versions
		rewrite(leader)
	}
	for _, b := range s.brokers[1:] {
		replace(b, newer)
	}
	replace(first, older) // and an update is taken back
	rewrite(first)
	tr.goOn(t)
	judge(t, s.wechat, tr.end())
	if n := s.fetches(); n != fetches {
		t.Errorf("%d fetches, want %d", n, fetches)
	}

	var last written
	kept := 0
	for _, w := range s.history(t, stable) {
		switch {
		case w.Newer == w.Write: // by the newer program
		case w.Newer != last.Newer:
			t.Errorf("the older program made %q of the newer one's member, which was %q", w.Newer, last.Newer)
		case w.Newer != "":
			kept++
		}
		last = w
	}
	if want := 2 * 2; kept < want {
		t.Errorf("the older program rewrote %d records of the newer one's, want %d", kept, want)
	}
}

// It says something that this program would misread. The token is served, without a promise, and nothing else is done.
func TestARecordOfANewerSchemaIsNeitherGuessedNorOverwritten(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 1, account(stable, "stable", "wx-stable", s.upstream, ""), stable)
	b, key := s.brokers[0], "/tokenbroker/token/"+stable
	held, err := s.client.Get(t.Context(), key)
	if err != nil || len(held.Kvs) == 0 {
		t.Fatalf("reading the record: %v", err)
	}
	put := func(record string) int64 {
		t.Helper()
		resp, err := s.client.Txn(t.Context()).Then(clientv3.OpPut(key, record), clientv3.OpPut("/tokenbroker/head", stable)).Commit()
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.Revision
	}
	is := func(state tokenbrokerv1.TokenState) {
		t.Helper()
		eventually(t, ample, "the token is "+state.String(), func() bool {
			got, err := b.service().GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: stable})
			return err == nil && got.GetToken().GetState() == state && got.GetToken().GetVersion() == 1
		})
	}
	record := string(held.Kvs[0].Value)
	newer := put(strings.Replace(record, `"schema":1`, `"schema":2`, 1))
	is(tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT)
	b.err.await(t, "has schema 2, this program knows 1; run the newer program")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := b.admin().RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: stable}); err == nil {
		t.Error("it fetches")
	}
	if now, err := s.client.Get(t.Context(), key); err != nil || now.Kvs[0].ModRevision != newer {
		t.Errorf("the record was overwritten, or is not there: %v", err)
	}
	put(record)
	is(tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE)
	if n := s.fetches(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}
