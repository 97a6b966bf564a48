package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat/wechattest"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// throughProxy makes a replica reach WeChat through a proxy of its own, so that WeChat sees its requests come from an address of its own.
func (s *site) throughProxy(t *testing.T, b *broker, address string) {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := r.Clone(r.Context())
		seen.RemoteAddr = address + ":40000"
		s.wechat.ServeHTTP(w, seen)
	}))
	t.Cleanup(proxy.Close)
	b.env = append(b.env, "HTTP_PROXY="+proxy.URL)
}

// TestLeadGoesWhereWeChatAcceptsTheAddress: the first leader's is not on the whitelist. Another takes over, and everybody says which
// address is missing, until that replica has fetched.
func TestLeadGoesWhereWeChatAcceptsTheAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, wechattest.Config{})
	if err := s.wechat.AddFault(wechattest.Fault{Endpoint: wechattest.Stable, Kind: wechattest.Errcode, Code: 40164, Client: "10.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b := newBroker(t, fmt.Sprintf("r%d", i+1), fmt.Sprintf("{endpoints: [%s]}", strings.Join(s.etcd.Endpoints(), ", ")),
			account(stable, "stable", "wx-stable", "http://wechat.invalid", ""))
		s.throughProxy(t, b, fmt.Sprintf("10.0.0.%d", i+1))
		b.launch(t)
		s.brokers = append(s.brokers, b)
		s.awaitCandidates(t, i+1)
	}
	refused := s.brokers[0]
	if lead := s.leader(t); lead != refused {
		t.Fatalf("%s leads, want the first", lead.id)
	}

	// It tries three times, with growing pauses.
	eventually(t, 3*time.Minute, "another leads", func() bool { return s.election.last().ID != refused.id })
	for _, b := range s.brokers {
		firstToken(t, b, stable)
	}
	lead := s.awaitCandidates(t, 3)
	if _, err := refused.admin().RefreshToken(t.Context(), &tokenbrokerv1.RefreshTokenRequest{Name: stable}); err != nil {
		t.Errorf("refreshing: %v", err)
	}
	if now := s.leader(t); now != lead || lead == refused {
		t.Errorf("%s leads, after %s did; want no further change", now.id, lead.id)
	}

	const remedy = "Add 10.0.0.1 to the account's IP whitelist"
	for _, b := range s.brokers {
		f := b.status(t).GetTokens()[0].GetLastFailure()
		if f.GetCode() != "40164" || f.GetReplica() != refused.id || !strings.Contains(f.GetRemedy(), remedy) {
			t.Errorf("%s tells of the last failure: %v", b.id, f)
		}
		r := command(t, "status", "--server", b.grpc)
		for _, part := range []string{" at r1: 40164 (address)", "but not by that replica", "what to do: " + remedy} {
			if r.code != 0 || !strings.Contains(r.out, part) {
				t.Errorf("the status at %s ends with exit code %d, and does not say %q:\n%s", b.id, r.code, part, r.out)
			}
		}
	}
	if log := refused.err.String(); strings.Count(log, "giving up the lead") != 1 || !strings.Contains(log, remedy) || !strings.Contains(log, "replica=r1") {
		t.Errorf("the refused leader logged:\n%s", log)
	}

	// The address is added. Nobody knows that until the replica has tried.
	s.wechat.ClearFaults()
	for s.leader(t) != refused {
		if _, err := lead.admin().ResignLeadership(t.Context(), &tokenbrokerv1.ResignLeadershipRequest{}); err != nil {
			t.Fatalf("resigning: %v", err)
		}
		s.awaitCandidates(t, 3)
	}
	for _, b := range s.brokers {
		eventually(t, ample, b.id+" says that nothing is left to do", func() bool {
			// The same order within seconds has the same answer, so that the first of these may cause no fetch.
			if _, err := b.admin().RefreshToken(t.Context(), &tokenbrokerv1.RefreshTokenRequest{Name: stable}); err != nil {
				t.Fatalf("refreshing: %v", err)
			}
			return b.status(t).GetTokens()[0].GetLastFailure().GetRemedy() == ""
		})
	}
}
