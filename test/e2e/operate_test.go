package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// stream collects what one replica's WatchToken brings.
type stream struct {
	replica string

	mu     sync.Mutex
	tokens []*tokenbrokerv1.Token
}

// follow opens a stream until the end of the test.
func follow(t *testing.T, b *broker, name string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	client, err := b.service().WatchToken(ctx, &tokenbrokerv1.WatchTokenRequest{Name: name})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	st, ended := &stream{replica: b.id}, make(chan struct{})
	go func() {
		defer close(ended)
		for {
			resp, err := client.Recv()
			if err != nil {
				return
			}
			st.mu.Lock()
			st.tokens = append(st.tokens, resp.GetToken())
			st.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return st
}

// await waits for a version as the newest message, in the state ACTIVE, and returns all messages so far.
func (st *stream) await(t *testing.T, version int64) []*tokenbrokerv1.Token {
	t.Helper()
	var all []*tokenbrokerv1.Token
	eventually(t, ample, fmt.Sprintf("version %d on the stream of %s", version, st.replica), func() bool {
		st.mu.Lock()
		defer st.mu.Unlock()
		all = st.tokens
		if len(all) == 0 {
			return false
		}
		last := all[len(all)-1]
		return last.GetVersion() == version && last.GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE
	})
	return all
}

func TestForcedRefreshThroughAFollowerReachesEveryStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 3, s.bothTokens(), stable)
	old := firstToken(t, s.brokers[0], stable)
	var streams []*stream
	for _, b := range s.brokers {
		st := follow(t, b, stable)
		st.await(t, old.GetVersion())
		streams = append(streams, st)
	}

	tr := startTraffic(t, directly(s.brokers...), stable)
	tr.goOn(t)
	follower := s.others(s.leader(t))[0]
	if r := command(t, "refresh", stable, "--force", "--yes", "--server", follower.grpc); r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.err)
	}
	var value string
	for _, st := range streams {
		all := st.await(t, old.GetVersion()+1)
		for i, token := range all[1:] {
			if token.GetVersion() < all[i].GetVersion() {
				t.Errorf("the stream of %s went back to version %d", st.replica, token.GetVersion())
			}
		}
		last := all[len(all)-1].GetAccessToken()
		if value == "" {
			value = last
		}
		if last != value || last == old.GetAccessToken() || s.wechat.Check(last) != nil {
			t.Errorf("the stream of %s brings a token that is not the new one", st.replica)
		}
	}
	if s.wechat.Check(old.GetAccessToken()) == nil {
		t.Error("the old token still lives")
	}

	// The upstream's own spacing of 30 s is kept, and the operator told when to come back.
	if r := command(t, "refresh", stable, "--force", "--yes", "--server", follower.grpc); r.code != 4 {
		t.Errorf("a second forced refresh ends with exit code %d, want 4\n%s%s", r.code, r.out, r.err)
	}
	tr.goOn(t)
	judge(t, s.wechat, tr.end(), old.GetAccessToken())
}

func TestResigningThroughAFollowerMakesAnotherLead(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 2, s.bothTokens(), stable, classic)
	before := s.fetches()
	tr := startTraffic(t, directly(s.brokers...), stable, classic)
	for range 3 {
		old := s.election.last()
		follower := s.others(s.leader(t))[0]
		resp, err := follower.admin().ResignLeadership(t.Context(), &tokenbrokerv1.ResignLeadershipRequest{})
		if err != nil {
			t.Fatalf("resigning: %v", err)
		}
		next := s.election.next(t, old)
		if got := resp.GetLeader(); got.GetId() != follower.id || got.GetTerm() != next.created || next.ID != follower.id {
			t.Errorf("after %s resigned the answer names %s in term %d, etcd %s in term %d", old.ID, got.GetId(), got.GetTerm(), next.ID, next.created)
		}
		s.awaitCandidates(t, 2)
	}
	tr.goOn(t)
	judge(t, s.wechat, tr.end())
	if n := s.fetches() - before; n != 0 {
		t.Errorf("%d fetches", n)
	}
}

func TestHangupAddsATokenWithoutARestart(t *testing.T) {
	t.Parallel()
	const late = "late"
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 2, s.bothTokens(), stable)
	tr := startTraffic(t, directly(s.brokers...), stable)
	reload := func(tokens, told string) {
		t.Helper()
		for _, b := range s.brokers {
			b.tokens = tokens
			b.configure(t)
			b.signal(t, syscall.SIGHUP)
			b.err.await(t, told)
		}
	}

	reload(s.bothTokens()+account(late, "stable", "wx-late", s.upstream, ""), "added=[late]")
	version := firstToken(t, s.brokers[0], late).GetVersion()
	for _, b := range s.brokers {
		if got := firstToken(t, b, late).GetVersion(); got != version {
			t.Errorf("%s hands out version %d, another %d", b.id, got, version)
		}
	}

	// A mistake changes nothing.
	reload("  - {name: Late, wechat: {}}\n", "everything stays as it is")
	for _, b := range s.brokers {
		firstToken(t, b, late)
	}

	reload(s.bothTokens(), "removed=[late]")
	for _, b := range s.brokers {
		if r := command(t, "get", late, "--server", b.grpc); r.code != 2 {
			t.Errorf("asked for a removed token %s causes exit code %d, want 2\n%s", b.id, r.code, r.err)
		}
		if !b.running() {
			t.Errorf("%s has ended", b.id)
		}
	}
	tr.goOn(t)
	judge(t, s.wechat, tr.end())
	if n := s.wechat.Requests(wechattest.Stable); n != 2 {
		t.Errorf("%d fetches of two stable tokens", n)
	}
}

// Lives with which a second rotation may follow within seconds: the protocol's times are parts of the overlap. A replica that joins
// late takes 30 s off a life, because wall clocks may differ, so it must not be too short.
const (
	shortLife    = 2 * time.Minute
	shortOverlap = 5 * time.Second
)

func TestLeaderKilledInTheMiddleOfAFetchBetraysNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{TokenLife: shortLife, Overlap: shortOverlap})
	s.serve(t, 3, account(classic, "classic", "wx-classic", s.upstream, fmt.Sprintf("max_life: %v, overlap: %v", shortLife, shortOverlap)), classic)
	leader, old := s.leader(t), firstToken(t, s.brokers[0], classic)
	tr := startTraffic(t, directly(s.others(leader)...), classic)

	// WeChat rotates, and nobody learns of it: the answer hangs, and then the leader is dead.
	if err := s.wechat.AddFault(wechattest.Fault{Endpoint: wechattest.Classic, Kind: wechattest.Hang, When: wechattest.After, Times: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	refused := make(chan error, 1)
	go func() {
		_, err := leader.admin().RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: classic})
		refused <- err
	}()
	if err := s.wechat.Await(ctx, func() bool { return len(s.wechat.History()) == 2 }); err != nil {
		t.Fatal(err)
	}
	leader.kill()
	if err := <-refused; err == nil {
		t.Error("a refresh was answered by a leader that had been killed")
	}

	for _, b := range s.others(leader) {
		st := follow(t, b, classic)
		st.await(t, old.GetVersion()+1)
	}
	tr.goOn(t)
	c := newCourt(s.wechat)
	c.suspect = true // between the end of the promise and the next fetch
	c.judge(t, tr.end())
	if n := s.wechat.Requests(wechattest.Classic); n != 3 {
		t.Errorf("%d fetches, want 3: the first, the one that was lost, and the one that replaced it", n)
	}
}
