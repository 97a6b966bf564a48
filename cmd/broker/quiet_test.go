package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// quietStatus is that of a classic token that was fetched ten seconds ago.
func quietStatus() *tokenbrokerv1.GetStatusResponse {
	s := healthyStatus()
	s.Tokens[0].QuietUntil = stamp(3*time.Minute + 50*time.Second)
	return s
}

func TestARefreshThatWillWaitSaysUntilWhen(t *testing.T) {
	t.Parallel()
	b := &fakeBroker{status: quietStatus(), refresh: func(*tokenbrokerv1.RefreshTokenRequest) (*tokenbrokerv1.RefreshTokenResponse, error) {
		return nil, refusal(codes.DeadlineExceeded, "the order goes on", &errdetails.ErrorInfo{Reason: "UNSETTLED", Domain: "tokenbroker"})
	}}
	address := b.start(t)
	waits := "Waiting: after the last fetch or change of leaders the upstream is left in peace, until about 12:03:50 (3m50s from now). Then shop is fetched."
	got := command(t.Context(), address, "", "refresh", "shop")
	mustSay(t, got, waits, "--timeout, 1m0s, ends before that. The order stands all the same", "--timeout 5m waits for it", "exit code 5")

	got = command(t.Context(), address, "", "refresh", "shop", "--timeout", "5m")
	mustSay(t, got, waits)
	if strings.Contains(got, "ends before that") {
		t.Errorf("five minutes are enough:\n%s", got)
	}

	b.status = healthyStatus()
	if got := command(t.Context(), address, "", "refresh", "shop"); strings.Contains(got, "Waiting") {
		t.Errorf("there is nothing to wait for:\n%s", got)
	}
}

func TestStatusTellsWhenTheNextFetchMayBegin(t *testing.T) {
	t.Parallel()
	now := quietStatus()
	tok := now.GetTokens()[0]
	for _, c := range []struct {
		what     string
		next     time.Duration
		quiet    time.Duration
		failures int32
		says     string
	}{
		{"it is due, and has to wait", 3*time.Minute + 50*time.Second, 3*time.Minute + 50*time.Second, 0, "in 3m50s at the earliest: ahead of expiry"},
		{"it is due long after the wait", time.Hour, 3 * time.Minute, 0, "in 1h: ahead of expiry"},
		{"it is due, and the wait is over", 0, -time.Second, 0, "now: ahead of expiry"},
		{"it is due, and has failed", 0, 0, 2, "due, after 2 failures: ahead of expiry"},
		{"it is not due, and has failed", time.Minute, 0, 2, "in 1m: ahead of expiry"},
	} {
		tok.NextRefreshTime, tok.QuietUntil, tok.ConsecutiveFailures = stamp(c.next), stamp(c.quiet), c.failures
		if got := nextFetch(noon, tok); got != c.says {
			t.Errorf("%s: %q, want %q", c.what, got, c.says)
		}
	}
}

func TestEarlyDeathsAreShownForAWhile(t *testing.T) {
	t.Parallel()
	b := &fakeBroker{status: healthyStatus()}
	address := b.start(t)
	for ago, shown := range map[time.Duration]bool{7*24*time.Hour - time.Second: true, 7 * 24 * time.Hour: false} {
		b.status.Tokens[0].EarlyDeaths = &tokenbrokerv1.EarlyDeaths{Count: 2, LastTime: stamp(-ago), Meaning: "another system", Remedy: "find it"}
		got := command(t.Context(), address, "", "status")
		if strings.Contains(got, "found dead before its time 2 times") != shown || strings.Contains(got, "find it") != shown {
			t.Errorf("%v after the last one:\n%s", ago, got)
		}
		if got := command(t.Context(), address, "", "status", "-o", "json"); !strings.Contains(got, `"earlyDeaths"`) {
			t.Errorf("programs are not told:\n%s", got)
		}
	}
}

func TestABrokerThatDoesNotServeIsDescribedInWords(t *testing.T) {
	t.Parallel()
	b := &fakeBroker{}
	address := b.start(t)
	b.health.SetServingStatus(tokenbrokerv1.TokenBrokerService_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_NOT_SERVING)
	for _, args := range []string{"get shop", "watch shop", "report-invalid shop --version 3", "list"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel() // each waits until its time is over, which must be enough to reach a broker on a busy machine
			got := command(t.Context(), address, "", append(strings.Fields(args), "--timeout", "6s")...)
			mustSay(t, got, "no broker that was asked serves at the moment", "server   ADDRESS", "says NOT_SERVING: since its start",
				"ask another replica by --server; broker status --server ADDRESS tells", "exit code 3")
			for _, jargon := range []string{"pickfirst", "balancer", "health check failure"} {
				if strings.Contains(got, jargon) {
					t.Errorf("it says %q:\n%s", jargon, got)
				}
			}
		})
	}
}
