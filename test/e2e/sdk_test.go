package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	sdkClients = 8
	sdkCallers = 64
)

// sdk returns a client of all replicas. It hands out only what is promised.
func (s *site) sdk(t *testing.T) *tokenbroker.Client {
	t.Helper()
	var addresses []string
	for _, b := range s.brokers {
		addresses = append(addresses, b.grpc)
	}
	c, err := tokenbroker.New(t.Context(), strings.Join(addresses, ","), tokenbroker.WithMinLife(time.Nanosecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// use is what callers did with one value.
type use struct {
	times    int
	first    time.Time
	last     time.Time
	promised time.Time // the latest end of life that the client stated
}

// TestRotationUnderLoadShowsNoUseOfADeadToken: callers read a token and use it at once, as fast as they can, while it is rotated again and
// again and the leader is killed between.
func TestRotationUnderLoadShowsNoUseOfADeadToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{TokenLife: shortLife, Overlap: shortOverlap})
	s.serve(t, 3, account(classic, "classic", "wx-classic", s.upstream, fmt.Sprintf("max_life: %v, overlap: %v", shortLife, shortOverlap)), classic)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var callers sync.WaitGroup
	defer callers.Wait()
	uses := make([]map[string]use, sdkCallers)
	reached := make([]atomic.Int64, sdkCallers)
	clients := make([]*tokenbroker.Client, sdkClients)
	for i := range clients {
		clients[i] = s.sdk(t)
	}
	for i := range sdkCallers {
		source := clients[i%sdkClients].Source(classic)
		uses[i] = map[string]use{}
		callers.Go(func() { useToken(ctx, t, source, uses[i], &reached[i]) })
	}
	everybodyUses := func(version int64) {
		t.Helper()
		eventually(t, ample, fmt.Sprintf("every caller uses version %d", version), func() bool {
			for i := range reached {
				if reached[i].Load() < version {
					return false
				}
			}
			return true
		})
	}
	everybodyUses(1)
	for round := range 4 {
		var answer *tokenbrokerv1.RefreshTokenResponse
		eventually(t, ample, "the token is rotated", func() bool {
			var err error
			answer, err = s.leader(t).admin().RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: classic})
			return err == nil
		})
		everybodyUses(answer.GetToken().GetVersion())
		if round == 1 {
			s.leader(t).kill()
			s.awaitCandidates(t, 2)
		}
	}
	stop()
	callers.Wait()

	lives := map[string]wechattest.Issued{}
	for _, issued := range s.wechat.History() {
		lives[issued.Token] = issued
	}
	total := 0
	for _, of := range uses {
		for value, u := range of {
			total += u.times
			life, issued := lives[value]
			if !issued || u.first.Before(life.From) || !u.last.Before(life.Until) {
				t.Errorf("used from %v to %v, lived from %v to %v", u.first, u.last, life.From, life.Until)
			}
			if u.promised.After(life.Until) {
				t.Errorf("promised until %v, lived until %v", u.promised, life.Until)
			}
		}
	}
	t.Logf("%d callers used the token %d times; %d versions were issued", sdkCallers, total, len(lives))
	if len(lives) < 5 {
		t.Errorf("%d tokens were issued, and the test proves nothing", len(lives))
	}
}

// useToken reads and uses a token until ctx ends.
func useToken(ctx context.Context, t *testing.T, source *tokenbroker.Source, uses map[string]use, reached *atomic.Int64) {
	t.Helper()
	pace := time.NewTicker(callPause)
	defer pace.Stop()
	for {
		waiting, cancel := context.WithTimeout(ctx, ample)
		token, err := source.Token(waiting)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		now := time.Now()
		if ttl := token.TTL(); ttl > 0 { // it lives now, says the client; else the caller was suspended between the two lines
			u := uses[token.Value()]
			if u.times++; u.times == 1 {
				u.first = now
			}
			u.last = now
			if end := now.Add(ttl); end.After(u.promised) {
				u.promised = end
			}
			uses[token.Value()] = u
			reached.Store(token.Version())
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
	}
}

// TestSDKCallersOfADeadTokenAllGetTheNextOne: none of them sees a refusal, and WeChat is asked for one token.
func TestSDKCallersOfADeadTokenAllGetTheNextOne(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 3, s.bothTokens(), stable)
	clients := make([]*http.Client, sdkClients)
	var dead tokenbroker.Token
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	for i := range clients {
		source := s.sdk(t).Source(stable)
		var err error
		if dead, err = source.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		clients[i] = &http.Client{Transport: source.WeChatTransport(base)}
	}
	before := s.wechat.Requests(wechattest.Stable)
	if !s.wechat.Kill(dead.Value()) {
		t.Fatal("the token was dead already")
	}
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	var callers sync.WaitGroup
	for i := range sdkCallers {
		callers.Go(func() {
			if answer, err := userList(ctx, clients[i%sdkClients], s.upstream); err != nil || strings.Contains(answer, `"errcode"`) {
				t.Errorf("got %q, %v", answer, err)
			}
		})
	}
	callers.Wait()
	if n := s.wechat.Requests(wechattest.Stable) - before; n != 1 {
		t.Errorf("%d fetches for one dead token, want 1", n)
	}
	if n := s.wechat.Requests(wechattest.DomainIP); n != 1 {
		t.Errorf("WeChat was asked %d times whether the token lives, want once", n)
	}
}

// userList makes an ordinary call of WeChat's API.
func userList(ctx context.Context, client *http.Client, upstream string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, upstream+"/cgi-bin/user/get", http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return string(answer), err
}
