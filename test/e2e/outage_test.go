package e2e_test

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func TestTokensAreServedWhileEtcdIsAwayAndKeptUpWhenItIsBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3, wechattest.Config{})
	s.serve(t, 3, s.bothTokens(), stable, classic)
	before := s.fetches()
	old := s.election.last()
	tr := startTraffic(t, directly(s.brokers...), stable, classic)
	tr.goOn(t)

	for _, m := range s.etcd.Members {
		m.Stop()
	}
	for _, b := range s.brokers {
		eventually(t, ample, b.id+" cannot prove its view any more", func() bool {
			return b.status(t).GetReplica().GetViewAge().AsDuration() > 2*sessionTTL
		})
		// Readiness hangs on what can be served, liveness on nothing.
		for _, page := range []string{"/readyz", "/livez"} {
			if code, text := fetch(t, "http://"+b.http+page); code != 200 {
				t.Errorf("without etcd %s%s says %d %s", b.id, page, code, text)
			}
		}
	}
	tr.goOn(t)

	var restarts sync.WaitGroup
	for _, m := range s.etcd.Members {
		restarts.Go(func() { m.Restart(t) })
	}
	restarts.Wait()
	next := s.election.next(t, old)
	s.awaitCandidates(t, 3)
	for _, b := range s.brokers {
		eventually(t, ample, b.id+" is up to date", func() bool {
			status := b.status(t)
			return status.GetLeader().GetTerm() == next.created && status.GetReplica().GetViewAge().AsDuration() < sessionTTL
		})
	}
	tr.goOn(t)
	judge(t, s.wechat, tr.end())
	if n := s.fetches() - before; n != 0 {
		t.Errorf("%d fetches because etcd was away", n)
	}

	// The way from a follower through etcd to the leader and WeChat works again.
	follower := s.others(s.leader(t))[0]
	was := firstToken(t, follower, stable).GetVersion()
	resp, err := follower.admin().RefreshToken(t.Context(), &tokenbrokerv1.RefreshTokenRequest{Name: stable, Force: true})
	if err != nil || resp.GetToken().GetVersion() != was+1 {
		t.Errorf("after the outage a refresh brings version %d, %v; want %d", resp.GetToken().GetVersion(), err, was+1)
	}
}

func TestReplicaStartsBeforeItsEtcd(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.etcd.Members[0].Stop()
	b := newBroker(t, "early", "{endpoints: ["+s.etcd.Endpoints()[0]+"]}", account(classic, "classic", "wx-classic", s.upstream, ""))
	s.brokers = append(s.brokers, b)
	b.launch(t)
	b.err.await(t, "an etcd does not answer")
	if code, _ := fetch(t, "http://"+b.http+"/readyz"); code != 503 {
		t.Errorf("without having seen etcd the replica's readiness is %d, want 503", code)
	}
	s.etcd.Members[0].Restart(t)
	firstToken(t, b, classic)
	b.awaitReady(t)
}

// Tokens of an upstream where a fetch ends nobody else's token are fetched by each replica for itself.
func TestAStableTokenOutlivesEtcd(t *testing.T) {
	t.Parallel()
	const life = 20 * time.Second
	s := newSite(t, 1, wechattest.Config{TokenLife: life, Overlap: 5 * time.Second})
	s.serve(t, 3, account(stable, "stable", "wx-stable", s.upstream, "max_life: 20s, overlap: 5s"), stable)
	tr := startTraffic(t, directly(s.brokers...), stable)
	tr.goOn(t)

	s.etcd.Members[0].Stop()
	fresh := newBroker(t, "fresh", s.brokers[0].etcd, s.brokers[0].tokens)
	fresh.launch(t) // knows nothing, and has nobody to ask but WeChat
	s.brokers = append(s.brokers, fresh)
	local := map[string]int64{}
	for _, b := range s.brokers {
		eventually(t, ample, b.id+" serves a token that it fetched alone", func() bool {
			got, err := b.service().GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: stable})
			local[b.id] = got.GetToken().GetVersion()
			return err == nil && got.GetToken().GetLocal()
		})
	}
	fresh.awaitReady(t)

	s.etcd.Members[0].Restart(t)
	for _, b := range s.brokers {
		for id, version := range local {
			eventually(t, ample, b.id+" serves a version above what "+id+" made up", func() bool {
				got := firstToken(t, b, stable)
				return !got.GetLocal() && got.GetVersion() > version
			})
		}
	}
	tr.goOn(t)
	judge(t, s.wechat, tr.end())
}

func TestAReplicaThatIsCutOffSaysSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 1, s.bothTokens(), stable, classic)
	b := s.brokers[0]
	// It fetches before it has seen itself in the election, and needs that for what it says when it is cut off.
	eventually(t, ample, "the only replica is in sync, leads and knows it", func() bool {
		got := b.status(t)
		return got.GetReplica().GetLeading() && got.GetReplica().GetInSync() && len(got.GetReplicas()) == 1 && got.GetReplicas()[0].GetLeading()
	})
	gauges := func() string {
		_, page := fetch(t, "http://"+b.http+"/metrics")
		return page
	}

	s.etcd.Members[0].Stop()
	stopped := time.Now()
	eventually(t, ample, "a leader that cannot renew its lease says that it does not lead", func() bool { return !b.status(t).GetReplica().GetLeading() })
	if took := time.Since(stopped); took > sessionTTL+time.Second {
		t.Errorf("it said so after %v", took)
	}
	if !strings.Contains(gauges(), "\ntokenbroker_leading 0\n") {
		t.Error("the metrics call it leading")
	}
	eventually(t, ample, "it names no leader", func() bool { return b.status(t).GetLeader() == nil })
	if got := b.status(t); got.GetReplica().GetInSync() || len(got.GetReplicas()) != 1 || got.GetReplicas()[0].GetLeading() {
		t.Errorf("in sync: %v, replicas: %v", got.GetReplica().GetInSync(), got.GetReplicas())
	}
	for _, gauge := range []string{"in_sync 0", "leading 0", "leader_term 0", "election_candidates 1"} {
		if !strings.Contains(gauges(), "\ntokenbroker_"+gauge+"\n") {
			t.Errorf("the metrics lack %s", gauge)
		}
	}
	if got := command(t, "status", "--server", b.grpc); got.code != 4 || !regexp.MustCompile(`leader +cut off from etcd for \d+s: leader unknown\n`).MatchString(got.out) {
		t.Errorf("status exits with %d and shows:\n%s", got.code, got.out)
	}
	if got := command(t, "report-invalid", stable, "--version", "1", "--server", b.grpc, "--timeout", "1s"); got.code != 3 ||
		!strings.Contains(got.err, "STORE_UNREACHABLE") {
		t.Errorf("a report exits with %d and says:\n%s", got.code, got.err)
	}

	s.etcd.Members[0].Restart(t)
	eventually(t, ample, "it leads again, and is in sync", func() bool {
		got := b.status(t)
		return got.GetReplica().GetLeading() && got.GetReplica().GetInSync() && got.GetLeader() != nil
	})
	if got := command(t, "status", "--server", b.grpc); got.code != 0 {
		t.Errorf("status exits with %d and shows:\n%s", got.code, got.out)
	}
}
