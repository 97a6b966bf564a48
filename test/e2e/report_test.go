package e2e_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func TestReportsOfADeadTokenOnEveryReplicaCauseOneFetch(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 3, s.bothTokens(), stable)
	dead := firstToken(t, s.brokers[0], stable)
	before := s.wechat.Requests(wechattest.Stable)
	tr := startTraffic(t, directly(s.brokers...), stable)
	tr.goOn(t)
	if !s.wechat.Kill(dead.GetAccessToken()) {
		t.Fatal("the token was dead already")
	}

	// Half of the callers know the version, the others only the value.
	byVersion := &tokenbrokerv1.ReportInvalidTokenRequest{Name: stable, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: dead.GetVersion()}}
	byValue := &tokenbrokerv1.ReportInvalidTokenRequest{Name: stable, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_AccessToken{AccessToken: dead.GetAccessToken()}}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	began := time.Now()
	var reports sync.WaitGroup
	answers := make([]answer, 50)
	for i := range answers {
		b, request := s.brokers[i%len(s.brokers)], byVersion
		if i%2 == 1 {
			request = byValue
		}
		reports.Go(func() {
			a := answer{caller: b.id, name: stable, sent: time.Now()}
			resp, err := b.service().ReportInvalidToken(ctx, request)
			a.received, a.token, a.err = time.Now(), resp.GetToken(), err
			answers[i] = a
		})
	}
	reports.Wait()
	t.Logf("the last of %d reports was answered after %v", len(answers), time.Since(began).Round(time.Millisecond))

	for _, a := range answers {
		if a.err == nil && a.token.GetVersion() != dead.GetVersion()+1 {
			t.Errorf("%s answered a report of version %d with version %d", a.caller, dead.GetVersion(), a.token.GetVersion())
		}
	}
	tr.goOn(t)
	judge(t, s.wechat, append(tr.end(), answers...), dead.GetAccessToken())
	if n := s.wechat.Requests(wechattest.Stable) - before; n != 1 {
		t.Errorf("%d fetches for %d reports of one version, want 1", n, len(answers))
	}
	if n := s.wechat.Requests(wechattest.DomainIP); n != 1 {
		t.Errorf("WeChat was asked %d times whether the token lives, want once", n)
	}

	// Late reports of the old version find the new token and cause nothing.
	for _, b := range s.brokers {
		resp, err := b.service().ReportInvalidToken(ctx, byVersion)
		if err != nil || resp.GetToken().GetVersion() != dead.GetVersion()+1 {
			t.Errorf("%s answers a late report with version %d, %v", b.id, resp.GetToken().GetVersion(), err)
		}
	}
	if n := s.wechat.Requests(wechattest.Stable) - before; n != 1 {
		t.Errorf("late reports raised the number of fetches to %d", n)
	}
}

func TestReportOfALivingTokenChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	s.serve(t, 2, s.bothTokens(), classic)
	before := s.fetches()
	for _, b := range s.brokers {
		living := firstToken(t, b, classic)
		resp, err := b.service().ReportInvalidToken(t.Context(), &tokenbrokerv1.ReportInvalidTokenRequest{
			Name: classic, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: living.GetVersion()},
		})
		if err != nil || resp.GetToken().GetAccessToken() != living.GetAccessToken() {
			t.Errorf("%s answers with version %d, %v; want the same token", b.id, resp.GetToken().GetVersion(), err)
		}
	}
	if n := s.fetches() - before; n != 0 {
		t.Errorf("%d fetches", n)
	}
}
