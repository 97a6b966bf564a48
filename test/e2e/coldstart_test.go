package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// snapshots gives a replica a file for its snapshot, and returns the path. Call it before launch.
func (b *broker) snapshots(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "snapshot.json")
	b.env = append(b.env, "TOKENBROKER_SNAPSHOT_FILE="+file)
	return file
}

// kept returns the versions in a snapshot, by name, and all that stands in it but sealed values; nothing while there is no file.
func kept(t *testing.T, file string) (versions map[string]int64, open string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, ""
	}
	var form struct {
		Content struct {
			Tokens []struct {
				Name   string
				Record map[string]any
			}
		}
	}
	if err == nil {
		err = json.Unmarshal(data, &form)
	}
	if err != nil {
		t.Fatalf("reading the snapshot: %v", err)
	}
	versions, open = map[string]int64{}, string(data)
	for _, token := range form.Content.Tokens {
		versions[token.Name] = int64(token.Record["version"].(float64))
		if sealed, _ := token.Record["sealed"].(string); sealed != "" {
			open = strings.ReplaceAll(open, sealed, "")
		}
	}
	return versions, open
}

// awaitKept waits until versions of both tokens are in a snapshot.
func awaitKept(t *testing.T, file string, stableVersion, classicVersion int64) {
	t.Helper()
	eventually(t, ample, fmt.Sprintf("%s has version %d and %d", file, stableVersion, classicVersion), func() bool {
		got, _ := kept(t, file)
		return got[stable] == stableVersion && got[classic] == classicVersion
	})
}

// ask asks a replica that listens once.
func ask(t *testing.T, b *broker, name string) (*tokenbrokerv1.Token, error) {
	t.Helper()
	resp, err := b.service().GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: name})
	return resp.GetToken(), err
}

// coldStart starts a replica that has ended while etcd is away, and checks that it answers with what it held. It returns how long the
// first answer took.
func coldStart(t *testing.T, b *broker, stableToken, classicToken *tokenbrokerv1.Token) time.Duration {
	t.Helper()
	began := time.Now()
	b.process = start(t, b.env, program, "serve", "--config", b.file)
	b.err.await(t, "msg=starting")
	b.conn = dial(t, b.grpc) // the old connection would rest before it tries again
	got, err := ask(t, b, stable)
	took := time.Since(began)
	if err != nil || got.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE || got.GetTtl().AsDuration() <= 0 ||
		got.GetVersion() != stableToken.GetVersion() || got.GetAccessToken() != stableToken.GetAccessToken() {
		t.Errorf("%s answers %v for %v in version %d, %v", b.id, got.GetState(), got.GetTtl().AsDuration(), got.GetVersion(), err)
	}
	got, err = ask(t, b, classic)
	if err != nil || got.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT || got.GetTtl().AsDuration() != 0 ||
		got.GetVersion() != classicToken.GetVersion() || got.GetAccessToken() != classicToken.GetAccessToken() {
		t.Errorf("%s answers %v for %v in version %d, %v", b.id, got.GetState(), got.GetTtl().AsDuration(), got.GetVersion(), err)
	}
	for _, page := range []string{"/readyz", "/livez"} {
		if code, text := fetch(t, "http://"+b.http+page); code != 200 {
			t.Errorf("%s%s says %d %s", b.id, page, code, text)
		}
	}
	return took
}

// Nothing waits for etcd: not for a connection that is refused, nor for one that is never answered, nor for a password's token.
func TestAReplicaThatStartsWithoutEtcdAnswersAtOnce(t *testing.T) {
	s := newSite(t, 1, wechattest.Config{})
	proxy := s.etcd.Members[0].Proxy(t)
	var files []string
	for i, more := range []string{"", ", username: broker, password: {env: " + secretVariable + "}"} {
		b := newBroker(t, fmt.Sprintf("r%d", i+1), fmt.Sprintf("{endpoints: [%s]%s}", proxy.Endpoint(), more), s.bothTokens())
		files = append(files, b.snapshots(t))
		b.launch(t)
		s.brokers = append(s.brokers, b)
	}
	s.awaitCandidates(t, 2)
	held := [2]*tokenbrokerv1.Token{firstToken(t, s.brokers[0], stable), firstToken(t, s.brokers[0], classic)}
	var answers []answer
	for way, away := range map[string]func(){"silent": func() { proxy.Hold(etcdtest.Both) }, "gone": proxy.Cut} {
		for i, b := range s.brokers {
			awaitKept(t, files[i], 1, 1)
			b.kill()
		}
		away()
		for _, b := range s.brokers {
			took := coldStart(t, b, held[0], held[1])
			t.Logf("etcd is %s: %s answers %v after its start", way, b.id, took.Round(time.Millisecond))
			if took > 2*time.Second { // less than any time-out of a call to etcd
				t.Errorf("etcd is %s: %s answers only %v after its start", way, b.id, took)
			}
		}
		tr := startTraffic(t, directly(s.brokers...), stable, classic)
		tr.goOn(t)
		proxy.Heal()
		for _, b := range s.brokers {
			firstToken(t, b, classic) // with a promise
		}
		tr.goOn(t)
		answers = append(answers, tr.end()...)
	}
	c := newCourt(s.wechat)
	c.suspect = true
	c.judge(t, answers)
	if n := s.fetches(); n != 2 {
		t.Errorf("%d fetches, want one for each of two tokens", n)
	}
}

// What happened while a replica was away is not overlooked when etcd can be asked.
func TestASnapshotIsNotServedBeforeAnEtcdThatAnswers(t *testing.T) {
	s := newSite(t, 1, wechattest.Config{})
	for _, id := range []string{"r1", "r2"} {
		b := newBroker(t, id, "{endpoints: ["+s.etcd.Endpoints()[0]+"]}", s.bothTokens())
		file := b.snapshots(t)
		b.launch(t)
		s.brokers = append(s.brokers, b)
		firstToken(t, b, stable)
		firstToken(t, b, classic)
		awaitKept(t, file, 1, 1)
	}
	s.awaitCandidates(t, 2)
	away := s.others(s.leader(t))[0]
	away.kill()
	dead := firstToken(t, s.leader(t), stable).GetAccessToken()
	if _, err := s.leader(t).admin().RefreshToken(t.Context(), &tokenbrokerv1.RefreshTokenRequest{Name: stable, Force: true}); err != nil {
		t.Fatal(err)
	}
	away.process = start(t, away.env, program, "serve", "--config", away.file)
	away.err.await(t, "msg=starting")
	away.conn = dial(t, away.grpc)
	if got, err := ask(t, away, stable); err != nil || got.GetVersion() != 2 || got.GetAccessToken() == dead {
		t.Errorf("its first answer is version %d, %v; version 1 is dead", got.GetVersion(), err)
	}
}

func TestABrokerWithAnEmbeddedMemberAnswersWithoutTheOthers(t *testing.T) {
	t.Parallel()
	s := &site{}
	s.wechat, s.upstream = newWeChat(t, wechattest.Config{})
	var members, files []string
	for i := range 3 {
		members = append(members, fmt.Sprintf("r%d: %q", i+1, "http://"+etcdtest.FreeAddress(t)))
	}
	for i, member := range members {
		_, peer, _ := strings.Cut(member, ": ")
		b := newBroker(t, fmt.Sprintf("r%d", i+1), fmt.Sprintf("{embedded: {data_dir: %s, listen_client: %q, listen_peer: %s, initial_cluster: {%s}}}",
			filepath.Join(t.TempDir(), "data"), "http://"+etcdtest.FreeAddress(t), peer, strings.Join(members, ", ")), s.bothTokens())
		files = append(files, b.snapshots(t))
		b.launch(t)
		s.brokers = append(s.brokers, b)
	}
	held := [2]*tokenbrokerv1.Token{firstToken(t, s.brokers[0], stable), firstToken(t, s.brokers[0], classic)}
	for _, file := range files {
		awaitKept(t, file, 1, 1)
	}
	for _, b := range s.brokers {
		b.kill()
	}
	coldStart(t, s.brokers[2], held[0], held[1])
	s.brokers[2].stop(t) // a majority is not needed to end, either
	coldStart(t, s.brokers[2], held[0], held[1])
	tr := startTraffic(t, directly(s.brokers[2]), stable, classic)
	tr.goOn(t)
	for _, b := range s.brokers[:2] {
		b.restart(t)
	}
	for _, b := range s.brokers {
		if got := firstToken(t, b, classic); got.GetVersion() != 1 {
			t.Errorf("%s has version %d", b.id, got.GetVersion())
		}
	}
	tr.goOn(t)
	c := newCourt(s.wechat)
	c.suspect = true
	c.judge(t, tr.end())
	if n := s.fetches(); n != 2 {
		t.Errorf("%d fetches, want one for each of two tokens", n)
	}
}

// All replicas were restarted, so nobody would remember the versions that etcd has lost.
func TestSnapshotsRememberWhatAnEmptiedEtcdHasLost(t *testing.T) {
	t.Parallel()
	const lives = "max_life: 5m, overlap: 5s"
	s := newSite(t, 1, wechattest.Config{TokenLife: 5 * time.Minute, Overlap: 5 * time.Second})
	tokens := account(stable, "stable", "wx-stable", s.upstream, lives) + account(classic, "classic", "wx-classic", s.upstream, lives)
	b := newBroker(t, "r1", "{endpoints: ["+s.etcd.Endpoints()[0]+"]}", tokens)
	file := b.snapshots(t)
	s.brokers = append(s.brokers, b)
	b.launch(t)
	replaced := []string{firstToken(t, b, stable).GetAccessToken(), firstToken(t, b, classic).GetAccessToken()}
	for _, order := range []*tokenbrokerv1.RefreshTokenRequest{{Name: stable, Force: true}, {Name: classic}} {
		if _, err := b.admin().RefreshToken(t.Context(), order); err != nil {
			t.Fatal(err)
		}
	}
	held := [2]*tokenbrokerv1.Token{firstToken(t, b, stable), firstToken(t, b, classic)}
	awaitKept(t, file, 2, 2)
	b.kill()
	s.etcd.Members[0].Stop()
	coldStart(t, b, held[0], held[1])
	tr := startTraffic(t, directly(b), stable, classic)
	tr.goOn(t)
	s.etcd.Refill(t, nil)
	for _, name := range []string{stable, classic} {
		eventually(t, ample, "a version of "+name+" above the one that was lost", func() bool {
			return firstToken(t, b, name).GetVersion() > 2
		})
	}
	tr.goOn(t)
	c := newCourt(s.wechat, replaced...)
	c.suspect = true
	c.judge(t, tr.end())
}

func TestASnapshotThatCannotBeUsedIsRefusedAndTheReplicaStarts(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	for name, tc := range map[string]struct {
		spoil  func([]byte) []byte
		reason string
		// replaced: there is a new one when etcd is back, and the refused one is kept beside it.
		replaced bool
	}{
		"damaged": {func(data []byte) []byte { data[len(data)/2] ^= 1; return data }, "damaged", true},
		"cut off": {func(data []byte) []byte { return data[:len(data)/3] }, "damaged", true},
		"of another cluster": {func([]byte) []byte {
			return []byte(`{"format":"tokenbroker snapshot","schema":1,"sha256":"` + otherClusterSum + `","content":` + otherCluster + "}")
		}, "other_namespace", false},
		"something else": {func([]byte) []byte { return []byte("replica: {id: r1}\n") }, "not_a_snapshot", false},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := s.etcd.Members[0].Proxy(t)
			b := newBroker(t, "r1", "{endpoints: ["+proxy.Endpoint()+"]}", s.bothTokens())
			file := b.snapshots(t)
			b.launch(t)
			held := firstToken(t, b, stable)
			firstToken(t, b, classic)
			awaitKept(t, file, 1, 1)
			b.kill()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			data = tc.spoil(data)
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			proxy.Cut()
			b.process = start(t, b.env, program, "serve", "--config", b.file)
			b.err.await(t, "reason="+tc.reason)
			b.conn = dial(t, b.grpc)
			if got, err := ask(t, b, stable); status.Code(err) != codes.Unavailable {
				t.Errorf("it answers %v, %v", got.GetState(), err)
			}
			if code, _ := fetch(t, "http://"+b.http+"/readyz"); code != 503 {
				t.Errorf("its readiness is %d", code)
			}
			if _, page := fetch(t, "http://"+b.http+"/metrics"); !strings.Contains(page, `tokenbroker_snapshot_refused{reason="`+tc.reason+`"} 1`) {
				t.Error("the metrics do not tell of the refusal")
			}
			for _, word := range []string{"level=ERROR", "file=" + file, "problem=", "remedy="} {
				if !strings.Contains(b.err.String(), word) {
					t.Errorf("the log has no %s:\n%s", word, b.err.Tail(20))
				}
			}

			proxy.Heal()
			if got := firstToken(t, b, stable); got.GetAccessToken() != held.GetAccessToken() {
				t.Errorf("with etcd it has version %d", got.GetVersion())
			}
			left := file
			if tc.replaced {
				awaitWhole(t, file)
				left += ".refused"
			}
			b.stop(t) // which writes what has changed
			if got, err := os.ReadFile(left); err != nil || string(got) != string(data) {
				t.Errorf("what was refused is not kept: %v", err)
			}
		})
	}
}

// otherCluster is the content of a snapshot, and otherClusterSum its checksum.
const (
	otherCluster    = `{"namespace":"/staging/","replica":"r1","written":"2026-01-01T00:00:00Z","tokens":[]}`
	otherClusterSum = "40cb0f59944151eaf553eb3df277953e62a75dd3ddb074756982fcb7e9be2311"
)

// awaitWhole waits until there is a snapshot with the first version of both tokens in the place of one that cannot even be parsed.
func awaitWhole(t *testing.T, file string) {
	t.Helper()
	eventually(t, ample, "a refused snapshot is kept", func() bool {
		_, err := os.Stat(file + ".refused")
		return err == nil
	})
	awaitKept(t, file, 1, 1)
}
