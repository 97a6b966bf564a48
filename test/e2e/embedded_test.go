package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/etcdtest"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
)

func TestEmbeddedEtcdKeepsTheTokenOverARestart(t *testing.T) {
	t.Parallel()
	w, url := newWeChat(t, wechattest.Config{})
	etcd := fmt.Sprintf("{embedded: {data_dir: %s, listen_client: %q, listen_peer: %q}}",
		filepath.Join(t.TempDir(), "data"), "http://127.0.0.1:0", "http://127.0.0.1:0")
	b := newBroker(t, "alone", etcd, account(stable, "stable", "wx-stable", url, "")+account(classic, "classic", "wx-classic", url, ""))
	b.launch(t)
	names := []string{stable, classic}
	values := map[string]string{}
	for _, name := range names {
		values[name] = firstToken(t, b, name).GetAccessToken()
	}
	for how, end := range map[string]func(){"stopped": func() { b.stop(t) }, "killed": func() { b.kill() }} {
		end()
		b.restart(t)
		for _, name := range names {
			if got := firstToken(t, b, name); got.GetVersion() != 1 || got.GetAccessToken() != values[name] {
				t.Errorf("%s and started again it has another %s: version %d", how, name, got.GetVersion())
			}
		}
	}
	if n := len(w.History()); n != 2 {
		t.Errorf("%d tokens were issued, want 2", n)
	}
	b.stop(t)
}

func TestThreeBrokersWithEmbeddedEtcdAreOneCluster(t *testing.T) {
	t.Parallel()
	s := &site{}
	s.wechat, s.upstream = newWeChat(t, wechattest.Config{})
	var members, endpoints []string
	peers := make([]string, 3)
	for i := range peers {
		peers[i] = "http://" + etcdtest.FreeAddress(t)
		members = append(members, fmt.Sprintf("r%d: %q", i+1, peers[i]))
	}
	for i, peer := range peers {
		client := "http://" + etcdtest.FreeAddress(t)
		endpoints = append(endpoints, client)
		etcd := fmt.Sprintf("{embedded: {data_dir: %s, listen_client: %q, listen_peer: %q, initial_cluster: {%s}}}",
			filepath.Join(t.TempDir(), "data"), client, peer, strings.Join(members, ", "))
		s.brokers = append(s.brokers, newBroker(t, fmt.Sprintf("r%d", i+1), etcd, s.bothTokens()))
	}
	for _, b := range s.brokers {
		b.launch(t)
	}
	for _, b := range s.brokers {
		firstToken(t, b, stable)
		firstToken(t, b, classic)
		b.awaitReady(t)
	}
	s.client = etcdtest.Dial(t, endpoints)
	s.election = followElection(t, s.client)
	leader := s.awaitCandidates(t, 3)
	list, err := s.client.MemberList(t.Context())
	if err != nil || len(list.Members) != 3 {
		t.Fatalf("etcd has %d members, %v", len(list.Members), err)
	}

	// A replica that dies takes an etcd member with it; two of three go on, and the third comes back.
	survivors := s.others(leader)
	tr := startTraffic(t, directly(survivors...), stable)
	old := s.election.last()
	leader.kill()
	s.election.next(t, old)
	tr.goOn(t)
	leader.restart(t)
	s.awaitCandidates(t, 3)
	firstToken(t, leader, stable)
	tr.goOn(t)
	judge(t, s.wechat, tr.end())
	if n := s.fetches(); n != 2 {
		t.Errorf("%d fetches, want one for each of two tokens", n)
	}
}
