package e2e_test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

// failoverTime is how long nobody may lead after the leader's sudden death: the life of its session, and a second for etcd to notice
// that it is over and for the next candidate to learn of it.
const failoverTime = sessionTTL + time.Second

func TestKilledLeaderIsReplacedWithoutAFailedCallOrAFetch(t *testing.T) {
	s := newSite(t, 3, wechattest.Config{})
	s.serve(t, 3, s.bothTokens(), stable, classic)
	before, published := s.fetches(), publishedServiceConfig(t)
	var took []time.Duration
	for range 4 {
		old := s.election.last()
		leader := s.leader(t)
		survivors := s.others(leader)
		conns := directly(survivors...)
		conns[everyone] = dialAll(t, published, s.brokers...) // it repeats what the killed replica owes
		tr := startTraffic(t, conns, stable, classic)
		tr.goOn(t)

		killed := time.Now()
		leader.kill()
		next := s.election.next(t, old)
		took = append(took, next.seen.Sub(killed))
		if last := took[len(took)-1]; last > failoverTime {
			t.Errorf("%s led %v after %s was killed, want within %v", next.ID, last, old.ID, failoverTime)
		}
		for _, b := range survivors {
			eventually(t, ample, b.id+" knows the new leader", func() bool { return b.status(t).GetLeader().GetTerm() == next.created })
		}
		tr.goOn(t)
		judge(t, s.wechat, tr.end())

		leader.restart(t)
		s.awaitCandidates(t, 3)
	}
	if n := s.fetches() - before; n != 0 {
		t.Errorf("%d fetches although the tokens were healthy", n)
	}
	report(t, "failover", took)
}

func TestEtcdctlShowsWhoLeads(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3, wechattest.Config{})
	s.serve(t, 3, s.bothTokens(), stable, classic)
	old := s.election.last()
	s.leader(t).kill()
	next := s.election.next(t, old)
	leader := s.broker(t, next.ID)

	ctl := tool(t, "etcdctl")
	endpoints := "--endpoints=" + strings.Join(s.etcd.Endpoints(), ",")

	elect := start(t, nil, ctl, endpoints, "elect", "-l", electionPrefix)
	eventually(t, ample, "etcdctl shows the leader's key and value", func() bool { return strings.Count(elect.out.String(), "\n") >= 2 })
	t.Logf("etcdctl elect -l %s\n%s", electionPrefix, elect.out.String())
	key, value, _ := strings.Cut(strings.TrimSpace(elect.out.String()), "\n")
	if key != next.key {
		t.Errorf("the leader's key is %s, want %s", key, next.key)
	}
	var shown map[string]string
	if err := json.Unmarshal([]byte(value), &shown); err != nil {
		t.Errorf("the leader's value is not JSON: %v", err)
	}
	if fields := slices.Sorted(maps.Keys(shown)); !slices.Equal(fields, []string{"address", "id", "since"}) {
		t.Errorf("the leader's value has the fields %v", fields)
	}
	if shown["id"] != leader.id || shown["address"] != leader.grpc {
		t.Errorf("the leader is shown as %s at %s, want %s at %s", shown["id"], shown["address"], leader.id, leader.grpc)
	}
	if since, err := time.Parse(time.RFC3339, shown["since"]); err != nil || time.Since(since) > ample || time.Until(since) > time.Second {
		t.Errorf("the leader leads since %s (%v), want just now", shown["since"], err)
	}

	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), ctl, append([]string{endpoints}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("etcdctl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		t.Logf("etcdctl %s\n%s", strings.Join(args, " "), out)
		return string(out)
	}
	candidates := run("get", "--prefix", electionPrefix)
	if !strings.Contains(candidates, key+"\n"+value+"\n") || strings.Count(candidates, `"id"`) != 2 || strings.Contains(candidates, `"id":"`+old.ID+`"`) {
		t.Errorf("of two candidates, the leader and one who waits, this is shown:\n%s", candidates)
	}
	lease := key[strings.LastIndexByte(key, '/')+1:]
	if got := run("lease", "timetolive", lease, "--keys"); !strings.Contains(got, "granted with TTL(2s)") || !strings.Contains(got, key) {
		t.Errorf("the lease shows\n%s", got)
	}
	if got := run("get", "--prefix", "--keys-only", "/tokenbroker/"); !strings.Contains(got, "/tokenbroker/token/"+stable+"\n") {
		t.Errorf("the keyspace shows\n%s", got)
	}
}

// tool builds a tool of etcd's own, once for each build cache, and returns its path.
func tool(t *testing.T, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "tool", "-n", name) // prints what it would run, and sees to it that it is there
	cmd.Dir, cmd.Stderr = root, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("building %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// report logs measured times.
func report(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	t.Logf("%s: median %v, longest %v of %d", what, took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), len(took))
}
