package e2e_test

import (
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
