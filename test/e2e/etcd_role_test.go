package e2e_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// guardedEtcd is an etcd, as the program that operators run, that asks everybody for a certificate. Its users are those that
// examples/secure makes certificates for.
type guardedEtcd struct {
	*process
	certificates string // the folder
	endpoint     string
	ctl          string // etcdctl's path
}

// startGuardedEtcd makes certificates and starts an etcd with them, in which nobody has a role yet.
func startGuardedEtcd(t *testing.T) *guardedEtcd {
	t.Helper()
	e := &guardedEtcd{certificates: filepath.Join(t.TempDir(), "certificates"), ctl: tool(t, "etcdctl")}
	run(t, example(t, "make-certificates.sh"), e.certificates)
	server := filepath.Join(t.TempDir(), "etcd")
	if err := brokertest.GoBuild(server, "-trimpath", "go.etcd.io/etcd/server/v3"); err != nil {
		t.Fatal(err)
	}
	peer := "http://" + etcdtest.FreeAddress(t)
	e.endpoint = "https://" + etcdtest.FreeAddress(t)
	e.process = start(t, nil, server, "--data-dir", filepath.Join(t.TempDir(), "data"), "--unsafe-no-fsync",
		"--listen-client-urls", e.endpoint, "--advertise-client-urls", e.endpoint,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer,
		"--cert-file", e.file("etcd"), "--key-file", e.file("etcd-key"), "--client-cert-auth", "--trusted-ca-file", e.file("etcd-ca"))
	eventually(t, ample, "etcd serves", func() bool {
		if !e.running() {
			t.Fatalf("etcd ended:\n%s", e.err.String())
		}
		_, err := e.etcdctl(t, "root", "endpoint", "health")
		return err == nil
	})
	return e
}

// example is the path of a file of examples/secure. It is opened, so that go test knows that its result depends on it.
func example(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(root, "examples", "secure", name)
	if _, err := os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// file is the path of a certificate or key.
func (e *guardedEtcd) file(name string) string { return filepath.Join(e.certificates, name+".pem") }

// environment leads etcdctl here, in the name of a user.
func (e *guardedEtcd) environment(user string) []string {
	return []string{
		"PATH=" + filepath.Dir(e.ctl) + ":" + os.Getenv("PATH"), "ETCDCTL_ENDPOINTS=" + e.endpoint, "ETCDCTL_CACERT=" + e.file("etcd-ca"),
		"ETCDCTL_CERT=" + e.file("etcd-"+user), "ETCDCTL_KEY=" + e.file("etcd-"+user+"-key"),
	}
}

// etcdctl runs a command in the name of a user: root or broker.
func (e *guardedEtcd) etcdctl(t *testing.T, user string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.ctl, args...)
	cmd.Env = e.environment(user)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is etcdctl for what has to succeed.
func (e *guardedEtcd) must(t *testing.T, user string, args ...string) string {
	t.Helper()
	out, err := e.etcdctl(t, user, args...)
	if err != nil {
		t.Fatalf("etcdctl %s as %s: %v\n%s", strings.Join(args, " "), user, err, out)
	}
	return out
}

// giveRole runs the script of the manual.
func (e *guardedEtcd) giveRole(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), example(t, "etcd-role.sh"))
	cmd.Env = e.environment("root")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("etcd-role.sh: %v\n%s", err, out)
	}
}

// client is a client of etcd in the name of a user.
func (e *guardedEtcd) client(t *testing.T, user string) *clientv3.Client {
	t.Helper()
	cfg, err := tokenbroker.TLSFiles{CAFile: e.file("etcd-ca"), CertFile: e.file("etcd-" + user), KeyFile: e.file("etcd-" + user + "-key")}.Config()
	if err != nil {
		t.Fatal(err)
	}
	cfg.MinVersion = tls.VersionTLS12
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.endpoint}, TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// section is the brokers' configuration of this etcd, as YAML.
func (e *guardedEtcd) section() string {
	return fmt.Sprintf("{endpoints: [%q], tls: {ca_file: %q, cert_file: %q, key_file: %q}}",
		e.endpoint, e.file("etcd-ca"), e.file("etcd-broker"), e.file("etcd-broker-key"))
}

// TestTheLeastRoleIsAllThatBrokersNeed: everything that brokers do they do as a user who may touch the namespace only. They become that user
// while they run, and nobody notices.
func TestTheLeastRoleIsAllThatBrokersNeed(t *testing.T) {
	t.Parallel()
	e := startGuardedEtcd(t)
	s := &site{client: e.client(t, "root")}
	s.election = followElection(t, s.client)
	s.wechat, s.upstream = newWeChat(t, wechattest.Config{})
	for i := range 3 {
		b := newBroker(t, fmt.Sprintf("r%d", i+1), e.section(), s.bothTokens())
		b.launch(t)
		s.brokers = append(s.brokers, b)
	}
	for _, b := range s.brokers {
		firstToken(t, b, stable)
		firstToken(t, b, classic)
	}
	s.awaitCandidates(t, 3)
	before := s.election.last()
	tr := startTraffic(t, directly(s.brokers...), stable, classic)
	tr.goOn(t)
	e.giveRole(t)
	e.giveRole(t) // which changes nothing
	tr.goOn(t)
	judge(t, s.wechat, tr.end())
	if now := s.awaitCandidates(t, 3); now.id != before.ID {
		t.Errorf("%s leads, and %s did before etcd asked for users", now.id, before.ID)
	}

	follower := s.others(s.leader(t))[0]
	order := func(what string, do func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), ample)
		defer cancel()
		if err := do(ctx); err != nil {
			t.Errorf("%s through a follower: %v", what, err)
		}
	}
	order("a forced refresh", func(ctx context.Context) error {
		_, err := follower.admin().RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: stable, Force: true})
		return err
	})
	order("a report", func(ctx context.Context) error {
		_, err := follower.service().ReportInvalidToken(ctx, &tokenbrokerv1.ReportInvalidTokenRequest{
			Name: classic, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: 1},
		})
		return err
	})
	order("a resignation", func(ctx context.Context) error {
		_, err := follower.admin().ResignLeadership(ctx, &tokenbrokerv1.ResignLeadershipRequest{})
		return err
	})
	old, leader := s.election.last(), s.awaitCandidates(t, 3)
	leader.kill()
	s.election.next(t, old)
	leader.restart(t)
	s.awaitCandidates(t, 3)
	for _, b := range s.brokers {
		eventually(t, ample, b.id+" has what was refreshed", func() bool { return firstToken(t, b, stable).GetVersion() > 1 })
		b.stop(t)
		if log := b.err.String(); strings.Contains(log, "permission denied") {
			t.Errorf("%s lacked something:\n%s", b.id, log)
		}
	}
}

func TestTheLeastRoleEndsAtTheNamespace(t *testing.T) {
	t.Parallel()
	e := startGuardedEtcd(t)
	e.giveRole(t)
	e.must(t, "root", "put", "/other/key", "secret of others")
	_, others, _ := strings.Cut(e.must(t, "root", "lease", "grant", "600"), "lease ")
	others, _, _ = strings.Cut(others, " ")
	e.must(t, "root", "put", "--lease", others, "/other/leased", "secret of others")

	for _, allowed := range []string{
		"put /tokenbroker/x y", "get --prefix /tokenbroker/", "del /tokenbroker/x", "lease grant 60",
		"endpoint status", "member list", "alarm list", "role get tokenbroker",
	} {
		e.must(t, "broker", strings.Fields(allowed)...)
	}
	for _, denied := range []string{
		"get /other/key", "get --prefix /", "get --from-key /tokenbroker/", "put /other/key z", "put /tokenbroker z", "put /tokenbroker0 z", "del --prefix /other/",
		"lease revoke " + others, "lease timetolive --keys " + others,
		"user list", "user add eve --no-password", "user grant-role tokenbroker root", "role list", "role get root",
		"role grant-permission tokenbroker readwrite / --prefix", "auth disable",
		"snapshot save " + filepath.Join(t.TempDir(), "stolen.db"), "compaction 1", "defrag", "endpoint hashkv", "move-leader 1",
		"member add eve --peer-urls=http://127.0.0.1:1", "watch --prefix /other/",
	} {
		out, err := e.etcdctl(t, "broker", strings.Fields(denied)...)
		if err == nil || !strings.Contains(out, "permission denied") && !strings.Contains(out, "canceled by the server") {
			t.Errorf("etcdctl %s: %v\n%s", denied, err, out)
		}
	}
	if got := e.must(t, "root", "get", "--prefix", "/other/", "--print-value-only"); strings.Count(got, "secret of others") != 2 {
		t.Errorf("afterwards the others' keys hold %q", got)
	}
}

// TestABrokerSaysWhatItMayNotDo, and goes on by itself when it may.
func TestABrokerSaysWhatItMayNotDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before [][]string // of the administrator
		says   []string
	}{
		"a user without the role": {
			[][]string{{"user", "revoke-role", "tokenbroker", "tokenbroker"}},
			[]string{"permission denied", "grant the broker's etcd user readwrite permission on the whole namespace"},
		},
		"no such user": {
			[][]string{{"user", "delete", "tokenbroker"}},
			[]string{"permission denied", "grant the broker's etcd user readwrite permission on the whole namespace"},
		},
		"a role that only reads": {
			[][]string{{"role", "revoke-permission", "tokenbroker", "/tokenbroker/", "--prefix"}, {"role", "grant-permission", "tokenbroker", "read", "/tokenbroker/", "--prefix"}},
			[]string{"permission denied", "standing for election failed", "grant the broker's etcd user readwrite permission on the whole namespace"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startGuardedEtcd(t)
			e.giveRole(t)
			for _, change := range c.before {
				e.must(t, "root", change...)
			}
			_, upstream := newWeChat(t, wechattest.Config{})
			b := newBroker(t, "r1", e.section(), account(stable, "stable", "wx-stable", upstream, ""))
			b.launch(t)
			for _, text := range c.says {
				b.err.await(t, text)
			}
			e.giveRole(t)
			firstToken(t, b, stable)
		})
	}
}
