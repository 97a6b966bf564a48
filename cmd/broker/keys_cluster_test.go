package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
)

func TestAKeyIsReplacedUnderALiveClusterWithoutAFetchOrAFailedCall(t *testing.T) {
	s := newSite(t)
	file := newKeyset(t)
	replicas, values := threeOf(t, s, file)
	first := replicas[0]
	old := keysOf(t, file)[0].ID
	callers := callFor(t, []string{"a", "b"}, replicas...)
	rotate := func(want string) {
		t.Helper()
		before, _ := os.ReadFile(file)
		got := first.keys(t, "rotate", file, "--replicas", "3")
		if !strings.Contains(got, want) {
			t.Fatalf("%q is not in:\n%s", want, got)
		}
		refused := strings.Contains(want, "not safe yet")
		if after, _ := os.ReadFile(file); refused && !bytes.Equal(before, after) || refused != strings.Contains(got, "exit code 1") {
			t.Fatalf("the file changed: %v\n%s", !bytes.Equal(before, after), got)
		}
	}
	roll := func(which ...*sealedReplica) {
		t.Helper()
		for _, r := range which {
			r.restart(t, file)
		}
	}
	s.hides(t, replicas, values...)

	rotate("add: ")
	added := keysOf(t, file)[1].ID
	rotate("promote is not safe yet, and nothing was changed:\n  replica one does not have key " + added.String() + " yet")
	roll(replicas[0], replicas[1])
	rotate("promote is not safe yet, and nothing was changed:\n  replica three does not have key " + added.String() + " yet")
	roll(replicas[2])
	rotate("promote: key " + added.String() + " seals from now on")
	rotate("reseal is not safe yet, and nothing was changed:\n  replica one still seals with key " + old.String())
	roll(replicas[0], replicas[1])
	rotate("reseal is not safe yet, and nothing was changed:\n  replica three still seals with key " + old.String())
	if got := first.keys(t, "reseal"); !strings.Contains(got, "reseal is not safe yet") {
		t.Errorf("it is sealed anew too early:\n%s", got)
	}
	roll(replicas[2])
	if got := s.atRest(t); got["a"] != old || got["b"] != old {
		t.Errorf("sealed with %v before anybody asked", got)
	}
	for _, r := range replicas {
		eventually(t, r.id+" has sealed its snapshot anew", func() bool {
			data, err := os.ReadFile(r.snap)
			return err == nil && !bytes.Contains(data, []byte(marker(old))) && bytes.Contains(data, []byte(marker(added)))
		})
	}

	status := first.keys(t, "status")
	for _, want := range []string{old.String() + " enabled 2 0", added.String() + " primary 0 0", "three " + added.String() + " " + old.String() + ", " + added.String()} {
		if !strings.Contains(strings.Join(strings.Fields(status), " "), want) {
			t.Errorf("%q is not in\n%s", want, status)
		}
	}
	rotate("reseal: 2 records sealed anew with key " + added.String())
	if got := s.atRest(t); got["a"] != added || got["b"] != added {
		t.Errorf("sealed with %v", got)
	}
	rotate("disable: ")
	roll(replicas...)
	rotate("add: ")

	callers.fine(t)
	if got := s.fetches(); got != "1 stable, 1 classic" {
		t.Errorf("fetched: %s", got)
	}
	for _, r := range replicas {
		if ask(t, r.grpc, "a").GetAccessToken() != values[0] || ask(t, r.grpc, "b").GetAccessToken() != values[1] {
			t.Errorf("%s has other tokens", r.id)
		}
	}
	s.hides(t, replicas, values...)
}

func TestSealingIsSwitchedOnUnderALiveClusterWithoutAFetch(t *testing.T) {
	s := newSite(t)
	file := newKeyset(t)
	var replicas []*sealedReplica
	for _, id := range []string{"one", "two"} {
		r := s.sealed(t, id, tokenA+tokenB)
		r.keyset, r.unsealed = "", true
		r.start(t, "")
		r.err.await(t, "TOKENS LIE IN ETCD AND IN THE SNAPSHOT AS THEY ARE")
		replicas = append(replicas, r)
	}
	for _, r := range replicas {
		r.serving(t)
	}
	values := []string{ask(t, replicas[0].grpc, "a").GetAccessToken(), ask(t, replicas[0].grpc, "b").GetAccessToken()}
	if got := s.atRest(t); got["a"] != 0 || got["b"] != 0 {
		t.Errorf("sealed with %v", got)
	}
	callers := callFor(t, []string{"a", "b"}, replicas...)

	// Too early: who takes only sealed values cannot start.
	early := s.sealed(t, "early", tokenA)
	early.start(t, file)
	early.err.await(t, "token a at /tokenbroker/token/a: it is not sealed, and this replica takes nothing in that is not")

	for i, r := range replicas {
		if got := r.keys(t, "reseal"); !strings.Contains(got, "reseal is not safe yet") {
			t.Errorf("with %d of 2 keysets:\n%s", i, got)
		}
		r.keyset = filepath.Join(s.dir, r.id+".keys")
		r.restart(t, file)
		r.err.await(t, "values that are not sealed are taken in beside the keyset")
	}
	if got := replicas[0].keys(t, "reseal"); !strings.Contains(got, "2 records sealed anew") {
		t.Error(got)
	}
	for _, r := range replicas {
		r.unsealed = false
		r.restart(t, file)
		if strings.Contains(r.err.String(), "insecure_plaintext_store") {
			t.Error("it still warns")
		}
	}
	callers.fine(t)
	if got := s.fetches(); got != "1 stable, 1 classic" {
		t.Errorf("fetched: %s", got)
	}
	s.hides(t, replicas, values...)

	// Nobody brings a token in any more.
	s.put(t, "token/a", strings.Replace(s.get(t, "token/a"), marker(keysOf(t, file)[0].ID), `"sealed":"cGxhaW4=","was":"`, 1))
	replicas[0].err.await(t, "reason=unsealed")
	if got := ask(t, replicas[0].grpc, "b").GetAccessToken(); got != values[1] {
		t.Error("another token suffers")
	}
}

func TestAReplicaWithoutTheRightKeyDoesNotStartAndSaysWhatToDo(t *testing.T) {
	s := newSite(t)
	file, other := newKeyset(t), newKeyset(t)
	r := s.sealed(t, "one", tokenA)
	r.start(t, file)
	r.serving(t)
	id, another := keysOf(t, file)[0].ID, keysOf(t, other)[0].ID
	before := s.get(t, "token/a")
	if code := r.exit(t); code != 0 {
		t.Fatal(code)
	}
	for name, tc := range map[string]struct {
		prepare func(r *sealedReplica) string
		want    []string
	}{
		"another keyset": {func(*sealedReplica) string { return other }, []string{
			"token a at /tokenbroker/token/a: it is sealed with key " + id.String() + ", which is missing here: the keyset has " + another.String() + " (primary); copy the keyset",
		}},
		"no keyset": {func(r *sealedReplica) string { r.keyset, r.unsealed = "", true; return "" }, []string{
			"it is sealed with key " + id.String() + ", which is missing here: there is no keyset",
		}},
		"the key is disabled": {func(*sealedReplica) string {
			k, err := readKeyset(file)
			if err != nil {
				t.Fatal(err)
			}
			both, next, err := k.Add()
			if err != nil {
				t.Fatal(err)
			}
			promoted, err := both.Promote(next)
			if err != nil {
				t.Fatal(err)
			}
			disabled, err := promoted.Disable(id)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "disabled")
			if err := writeKeyset(path, disabled); err != nil {
				t.Fatal(err)
			}
			return path
		}, []string{"which is disabled here", "broker keys enable FILE " + id.String()}},
	} {
		wrong := s.sealed(t, "wrong", tokenA)
		wrong.start(t, tc.prepare(wrong))
		got := wrong.err.await(t, "does not start")
		select {
		case code := <-wrong.code:
			if code != exitFailed {
				t.Errorf("%s: exit code %d", name, code)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: it does not end", name)
		}
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, got)
			}
		}
		if strings.Contains(got, "msg=leading") {
			t.Errorf("%s: it has led", name)
		}
	}
	if after := s.get(t, "token/a"); after != before || s.fetches() != "1 stable, 0 classic" {
		t.Errorf("fetched: %s; the record was written: %v", s.fetches(), after != before)
	}
}

// A replica that starts while etcd is away answers from its snapshot, and ends when etcd comes back and tells that its keys are wrong.
func TestAReplicaWithTheWrongKeysEndsWhenEtcdComesBack(t *testing.T) {
	s := newSite(t)
	file, other := newKeyset(t), newKeyset(t)
	r := s.sealed(t, "one", tokenA)
	r.start(t, file)
	r.serving(t)
	if code := r.exit(t); code != 0 {
		t.Fatal(code)
	}
	s.etcd.Stop()
	wrong := s.sealed(t, "wrong", tokenA)
	wrong.start(t, other)
	wrong.err.await(t, "an etcd does not answer")
	right := s.sealed(t, "one", tokenA)
	right.start(t, file)
	if got := ask(t, right.grpc, "a").GetVersion(); got != 1 {
		t.Errorf("from the snapshot: version %d", got)
	}
	s.etcd.Restart(t)
	wrong.err.await(t, "which is missing here")
	right.serving(t)
}

func TestAMovedValueIsNoticedAndNeverServedNorWrittenOver(t *testing.T) {
	s := newSite(t)
	file := newKeyset(t)
	a, b := s.sealed(t, "one", tokenA+tokenB), s.sealed(t, "two", tokenA+tokenB)
	a.start(t, file)
	a.serving(t)
	b.start(t, file)
	b.serving(t)
	valueA, valueB := ask(t, a.grpc, "a").GetAccessToken(), ask(t, a.grpc, "b").GetAccessToken()
	moved := strings.Replace(s.get(t, "token/a"), `"version":1`, `"version":9`, 1)
	s.put(t, "token/b", moved)
	for _, r := range []*sealedReplica{a, b} {
		r.err.await(t, "reason=moved_or_changed")
		if got := page(t, r.http+"/metrics"); !strings.Contains(got, `tokenbroker_store_unusable_records{reason="moved_or_changed"} 1`) {
			t.Errorf("%s: the metric does not tell", r.id)
		}
		if got := ask(t, r.grpc, "a").GetAccessToken(); got != valueA {
			t.Errorf("%s: another token suffers", r.id)
		}
		if got := command(t.Context(), r.grpc, "", "get", "b", "-o", "json"); strings.Contains(got, valueA) || !strings.Contains(got, valueB) {
			t.Errorf("%s does not go on with the token that it holds:\n%s", r.id, got)
		}
	}
	// Whoever leads next must neither fetch nor write, and who starts anew has nothing to serve.
	a.restart(t, file)
	if got := command(t.Context(), b.grpc, "", "resign"); !strings.Contains(got, "leads now") {
		t.Error(got)
	}
	a.err.await(t, "refreshing failed; trying again soon")
	if got := command(t.Context(), a.grpc, "", "refresh", "b", "--timeout", "2s"); strings.Contains(got, "exit code 0") {
		t.Errorf("it is fetched:\n%s", got)
	}
	if got := s.get(t, "token/b"); got != moved || s.fetches() != "1 stable, 1 classic" {
		t.Errorf("fetched: %s; the record was written: %v", s.fetches(), got != moved)
	}
	if got := a.keys(t, "status"); !strings.Contains(got, "it was moved here from another key") || !strings.Contains(got, "exit code 1") {
		t.Errorf("status does not tell:\n%s", got)
	}
}

func TestARecordThatIsCopiedToAnotherClusterDoesNotOpenThere(t *testing.T) {
	s := newSite(t)
	file := newKeyset(t)
	r := s.sealed(t, "one", tokenA)
	r.start(t, file)
	r.serving(t)
	value := ask(t, r.grpc, "a").GetAccessToken()
	copied := s.get(t, "token/a")
	if _, err := s.etcd.Client(t).Put(t.Context(), "/elsewhere/token/a", copied); err != nil {
		t.Fatal(err)
	}
	elsewhere := s.sealed(t, "elsewhere", tokenA)
	elsewhere.namespace = "/elsewhere/"
	elsewhere.start(t, file)
	elsewhere.err.await(t, "refreshing failed; trying again soon")
	if got := command(t.Context(), elsewhere.grpc, "", "get", "a", "--timeout", "2s"); strings.Contains(got, value) || strings.Contains(got, "exit code 0") {
		t.Errorf("it is served:\n%s", got)
	}
	if got := s.dump(t, "/elsewhere/token/a")[0][1]; got != copied || s.fetches() != "1 stable, 0 classic" {
		t.Errorf("fetched: %s; the record was written: %v", s.fetches(), got != copied)
	}
}

func TestATokenThatIsConfiguredNoMoreIsSealedAnewAllTheSame(t *testing.T) {
	s := newSite(t)
	r := s.sealed(t, "one", tokenA+tokenB)
	r.keyset, r.unsealed = "", true
	r.start(t, "")
	r.serving(t)
	ask(t, r.grpc, "b")
	r.tokens, r.keyset = tokenA, filepath.Join(s.dir, "one.keys")
	file := newKeyset(t)
	r.restart(t, file)
	if got := r.keys(t, "reseal"); !strings.Contains(got, "2 records sealed anew") {
		t.Fatal(got)
	}
	id := keysOf(t, file)[0].ID
	if got := s.atRest(t); got["a"] != id || got["b"] != id {
		t.Errorf("sealed with %v", got)
	}
}

// A leader of an older version answers that it knows no such request.
func TestALeaderThatCannotSealAnewIsToldOf(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	s := &site{etcd: etcd, url: "http://127.0.0.1:1", dir: t.TempDir()}
	r := s.sealed(t, "one", tokenA)
	file := newKeyset(t)
	k, err := readKeyset(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeKeyset(r.keyset, k); err != nil {
		t.Fatal(err)
	}
	labels, err := json.Marshal(sealingConfig{Keyset: k}.labels())
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, "election/1", `{"id":"old","labels":`+string(labels)+`}`)
	s.put(t, "token/a", `{"schema":1,"version":1,"sealed":"dG9rZW4="}`)
	key := defaultNamespace + "request/reseal/a/" + k.Primary().String()
	watch := client.Watch(t.Context(), key)
	done := make(chan string, 1)
	go func() { done <- r.keys(t, "reseal") }()
	<-watch
	s.put(t, strings.TrimPrefix(key, defaultNamespace), `{"schema":1,"request":{"kind":"reseal","name":"a"},"reply":{"verdict":"failed","reason":"this leader knows no request of kind \"reseal\"; it may be of an older version"}}`)
	if got := <-done; !strings.Contains(got, "token a: the leader answers: this leader knows no request of kind") || !strings.Contains(got, "exit code 1") {
		t.Error(got)
	}
}
