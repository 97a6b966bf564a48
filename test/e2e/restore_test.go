package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// Tokens of these tests have a short overlap, so that the quiet wait after which a classic token may be fetched again is 4 s.
const (
	shortLives = "max_life: 5m, overlap: 5s"
	quietWait  = 4 * time.Second
)

// How long after the return of an etcd that has lost versions every replica hands out a token above them: another leader (the session's
// TTL and a second), the next look for lost versions (5 s), and the fetch; for a classic token after the quiet wait. Twice as long, for
// slow machines.
const (
	healStable  = 2 * (sessionTTL + 7*time.Second)
	healClassic = healStable + 2*quietWait
)

// losing is a site whose tokens have a version that a backup does not know.
type losing struct {
	*site
	backup string
	// replaced are values that live no more.
	replaced []string
	fetched  int
}

// newLosing starts everything, makes the backup as the manual says, and then replaces each token.
func newLosing(t *testing.T, members int) *losing {
	t.Helper()
	s := &losing{site: newSite(t, members, wechattest.Config{TokenLife: 5 * time.Minute, Overlap: 5 * time.Second})}
	s.serve(t, 3, account(stable, "stable", "wx-stable", s.upstream, shortLives)+account(classic, "classic", "wx-classic", s.upstream, shortLives),
		stable, classic)
	s.backup = saveSnapshot(t, s.etcd.Endpoints()[0])
	for _, name := range []string{stable, classic} {
		s.replaced = append(s.replaced, firstToken(t, s.brokers[0], name).GetAccessToken())
		order := &tokenbrokerv1.RefreshTokenRequest{Name: name, Force: name == stable}
		if _, err := s.brokers[0].admin().RefreshToken(t.Context(), order); err != nil {
			t.Fatalf("refreshing %s: %v", name, err)
		}
		for _, b := range s.brokers {
			eventually(t, ample, b.id+" has version 2 of "+name, func() bool { return firstToken(t, b, name).GetVersion() == 2 })
		}
	}
	s.fetched = s.fetches()
	return s
}

// saveSnapshot asks a running etcd for a backup.
func saveSnapshot(t *testing.T, endpoint string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokenbroker.db")
	run(t, tool(t, "etcdctl"), "--endpoints", endpoint, "snapshot", "save", file)
	return file
}

// restoreSnapshot makes a member's data folder from a backup.
func restoreSnapshot(t *testing.T, file string, f etcdtest.Folder, flags ...string) {
	t.Helper()
	run(t, tool(t, "etcdutl"), append([]string{"snapshot", "restore", file, "--name", f.Name, "--data-dir", f.DataDir,
		"--initial-cluster", f.InitialCluster, "--initial-advertise-peer-urls", f.AdvertisePeer, "--initial-cluster-token", "tokenbroker"}, flags...)...)
}

// run runs a program to its end.
func run(t *testing.T, path string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(path), strings.Join(args, " "), err, out)
	}
}

// heal waits until replicas hand out versions above 2, and says how long after an instant that was.
func (s *losing) heal(t *testing.T, since time.Time, brokers ...*broker) {
	t.Helper()
	for _, token := range []struct {
		name   string
		within time.Duration
	}{{stable, healStable}, {classic, healClassic}} {
		for _, b := range brokers {
			eventually(t, time.Until(since.Add(token.within)), b.id+" has a newer version of "+token.name, func() bool {
				got := firstToken(t, b, token.name)
				return got.GetVersion() > 2 && got.GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE
			})
		}
		t.Logf("%s: healed after %v", token.name, time.Since(since).Round(10*time.Millisecond))
	}
}

// judge holds against the truth what callers were answered: they may have been without a promise, and never with a wrong one.
func (s *losing) judge(t *testing.T, tr *traffic) {
	t.Helper()
	c := newCourt(s.wechat, s.replaced...)
	c.suspect = true
	c.judge(t, tr.end())
	if n := s.fetches() - s.fetched; n != 2 {
		t.Errorf("%d fetches because of the loss, want one for each of two tokens", n)
	}
}

func TestRunningBrokersGoOnAboveWhatARestoredEtcdKnows(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]struct {
		members int
		flags   []string
	}{
		"as it was":                {members: 3},
		"with its revisions ahead": {members: 1, flags: []string{"--bump-revision", "1000000000", "--mark-compacted"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newLosing(t, how.members)
			tr := startTraffic(t, directly(s.brokers...), stable, classic)
			tr.goOn(t)
			s.etcd.Refill(t, func(f etcdtest.Folder) { restoreSnapshot(t, s.backup, f, how.flags...) })
			back := time.Now()
			s.heal(t, back, s.brokers...)
			tr.goOn(t)
			s.judge(t, tr)
		})
	}
}

func TestRunningBrokersGoOnWhenEtcdLosesEverything(t *testing.T) {
	t.Parallel()
	s := newLosing(t, 1)
	tr := startTraffic(t, directly(s.brokers...), stable, classic)
	tr.goOn(t)
	s.etcd.Refill(t, nil)
	back := time.Now()
	s.heal(t, back, s.brokers...)
	tr.goOn(t)
	s.judge(t, tr)
}

// Nobody remembers then. It is as if the brokers were new: one fetch for each token, and versions from 1.
func TestAColdStartOnAnEmptyEtcdBeginsAnew(t *testing.T) {
	t.Parallel()
	s := newLosing(t, 1)
	for _, b := range s.brokers {
		b.stop(t)
	}
	s.etcd.Refill(t, nil)
	for _, b := range s.brokers {
		b.restart(t)
	}
	for _, b := range s.brokers {
		for _, name := range []string{stable, classic} {
			if got := firstToken(t, b, name); got.GetVersion() != 1 {
				t.Errorf("%s begins with version %d of %s", b.id, got.GetVersion(), name)
			}
		}
	}
	tr := startTraffic(t, directly(s.brokers...), stable, classic)
	tr.goOn(t)

	// A caller that kept a version from before is told that there is no such version, and asks for a token like any other.
	b := s.brokers[0]
	report := &tokenbrokerv1.ReportInvalidTokenRequest{Name: classic, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: 2}}
	if _, err := b.service().ReportInvalidToken(t.Context(), report); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a report of a version from before is answered with %v", err)
	}
	s.judge(t, tr)
}

// With snapshots they remember, and it is as if they had run through it.
func TestAColdStartOnAnEmptyEtcdGoesOnAboveItsSnapshots(t *testing.T) {
	t.Parallel()
	s := newLosing(t, 1)
	for _, b := range s.brokers {
		file := b.snapshots(t)
		b.stop(t)
		b.restart(t)
		awaitKept(t, file, 2, 2)
	}
	for _, b := range s.brokers {
		b.stop(t)
	}
	s.etcd.Refill(t, nil)
	back := time.Now()
	for _, b := range s.brokers {
		b.restart(t)
	}
	tr := startTraffic(t, directly(s.brokers...), stable, classic)
	s.heal(t, back, s.brokers...)
	tr.goOn(t)
	s.judge(t, tr)
}

// The broker that is started anew knows nothing, leads first, and numbers its tokens from 1. The others have another value under that
// version: they hold on to it until there is a version above.
func TestAColdLeaderOnAnEmptyEtcdGoesAboveWhatTheOthersHold(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{TokenLife: 5 * time.Minute, Overlap: 5 * time.Second})
	s.serve(t, 3, account(classic, "classic", "wx-classic", s.upstream, shortLives), classic)
	held := firstToken(t, s.brokers[0], classic)
	cold, warm := s.brokers[0], s.brokers[1:]
	cold.stop(t)
	for _, b := range warm {
		b.signal(t, syscall.SIGSTOP)
	}
	s.etcd.Refill(t, nil)
	cold.restart(t)
	if got := firstToken(t, cold, classic); got.GetVersion() != held.GetVersion() || got.GetAccessToken() == held.GetAccessToken() {
		t.Fatalf("the cold broker has version %d, of the same value: %v", got.GetVersion(), got.GetAccessToken() == held.GetAccessToken())
	}
	tr := startTraffic(t, directly(warm...), classic)
	for _, b := range warm {
		b.signal(t, syscall.SIGCONT)
	}
	for _, b := range warm {
		eventually(t, healClassic, b.id+" has a newer version", func() bool { return firstToken(t, b, classic).GetVersion() > held.GetVersion() })
	}
	tr.goOn(t)
	c := newCourt(s.wechat)
	c.suspect = true
	c.judge(t, tr.end())
}

func TestAnEmbeddedEtcdIsRestoredFromItsBackup(t *testing.T) {
	t.Parallel()
	w, url := newWeChat(t, wechattest.Config{})
	client, peer, data := "http://"+etcdtest.FreeAddress(t), "http://"+etcdtest.FreeAddress(t), filepath.Join(t.TempDir(), "data")
	etcd := fmt.Sprintf("{embedded: {data_dir: %s, listen_client: %q, listen_peer: %q}}", data, client, peer)
	b := newBroker(t, "broker", etcd, account(stable, "stable", "wx-stable", url, ""))
	b.launch(t)
	before := firstToken(t, b, stable)
	backup := saveSnapshot(t, client)
	b.stop(t)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	restoreSnapshot(t, backup, etcdtest.Folder{Name: "broker", DataDir: data, InitialCluster: "broker=" + peer, AdvertisePeer: peer})
	b.restart(t)
	after := firstToken(t, b, stable)
	if after.GetVersion() != before.GetVersion() || after.GetAccessToken() != before.GetAccessToken() {
		t.Errorf("restored, it has version %d, of the same value: %v", after.GetVersion(), after.GetAccessToken() == before.GetAccessToken())
	}
	if n := len(w.History()); n != 1 {
		t.Errorf("%d tokens were issued, want 1", n)
	}
}
