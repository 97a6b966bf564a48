package main

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func TestOperatorsSeeWhatIsWrongAndWhatToDo(t *testing.T) {
	b := &fakeBroker{
		refresh: func(r *tokenbrokerv1.RefreshTokenRequest) (*tokenbrokerv1.RefreshTokenResponse, error) {
			tok := shopToken()
			tok.AccessToken, tok.Version = "", 18
			if r.GetForce() {
				tok.Version = 19
			}
			return &tokenbrokerv1.RefreshTokenResponse{Token: tok}, nil
		},
	}
	address := b.start(t)
	for _, tc := range []struct {
		name, stdin, args string
		status            *tokenbrokerv1.GetStatusResponse
	}{
		{name: "status", args: "status", status: healthyStatus()},
		{name: "status-json", args: "status -o json", status: healthyStatus()},
		{name: "status-trouble", args: "status", status: troubledStatus()},
		{name: "status-no-leader", args: "status", status: leaderlessStatus()},
		{name: "status-cut-off", args: "status", status: cutOffStatus(37 * time.Second)},
		{name: "status-never-connected", args: "status", status: cutOffStatus(0)},
		{name: "refresh", args: "refresh shop"},
		{name: "refresh-force-no", stdin: "n\n", args: "refresh shop --force"},
		{name: "refresh-force-eof", args: "refresh shop --force"},
		{name: "refresh-force-yes", stdin: "y\n", args: "refresh shop --force"},
		{name: "refresh-force", args: "refresh shop --force --yes -o json"},
		{name: "resign", args: "resign"},
		{name: "help-status", args: "status --help"},
		{name: "help", args: ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.status = tc.status
			golden(t, tc.name, command(t.Context(), address, tc.stdin, strings.Fields(tc.args)...))
		})
	}
}

// gRPC repeats the call by itself, and the time is over before that is answered.
func TestARefusalIsExplainedAlthoughTheTimeEndsInItsRepetition(t *testing.T) {
	released, calls := make(chan struct{}), new(atomic.Int64)
	b := &fakeBroker{report: func(*tokenbrokerv1.ReportInvalidTokenRequest) (*tokenbrokerv1.ReportInvalidTokenResponse, error) {
		if calls.Add(1) > 1 {
			<-released
		}
		return nil, refusal(codes.Unavailable, "this replica cannot reach the leader; ask another",
			&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)},
			&errdetails.ErrorInfo{Reason: "STORE_UNREACHABLE", Domain: "tokenbroker"})
	}}
	address := b.start(t)
	t.Cleanup(func() { close(released) }) // before the server is stopped
	golden(t, "report-store-away", command(t.Context(), address, "", "report-invalid", "shop", "--version", "17", "--timeout", "700ms"))
}

func healthyStatus() *tokenbrokerv1.GetStatusResponse {
	return &tokenbrokerv1.GetStatusResponse{
		Replica: &tokenbrokerv1.ReplicaStatus{Id: "broker-1", Address: "10.0.0.1:7700", Version: "v1.2.3", StartTime: stamp(-50 * time.Hour),
			ViewAge: durationpb.New(812345678), Revision: 4711, InSync: true},
		Leader: &tokenbrokerv1.Leader{Id: "broker-2", Address: "10.0.0.2:7700", Term: 77, Key: "/tokenbroker/election/1f", Since: stamp(-3*time.Hour - 2*time.Minute)},
		Replicas: []*tokenbrokerv1.Replica{
			{Id: "broker-2", Address: "10.0.0.2:7700", Leading: true, Since: stamp(-3*time.Hour - 2*time.Minute)},
			{Id: "broker-1", Address: "10.0.0.1:7700", Since: stamp(-42 * time.Second)},
		},
		Tokens: []*tokenbrokerv1.TokenStatus{{
			Name: "shop", State: tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, Version: 17, Ttl: durationpb.New(7198 * time.Second), ExpireTime: stamp(7198 * time.Second),
			Upstream: "wechat stable", LastRefreshTime: stamp(-2 * time.Second), NextRefreshTime: stamp(7000 * time.Second), NextRefreshReason: "ahead of expiry",
			FetchesToday: 12, DailyBudget: 2000,
			LastFailure: &tokenbrokerv1.UpstreamFailure{Code: "timeout", Class: "transient", Meaning: "the upstream did not answer in time", Time: stamp(-26 * time.Hour), Replica: "broker-2"},
		}},
	}
}

func troubledStatus() *tokenbrokerv1.GetStatusResponse {
	s := healthyStatus()
	s.Tokens = append(s.Tokens, &tokenbrokerv1.TokenStatus{
		Name: "wallet", State: tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT, Version: 3, Ttl: durationpb.New(0), ExpireTime: stamp(20 * time.Minute),
		Upstream: "wechat classic", Rotating: true, LastRefreshTime: stamp(-100 * time.Minute), NextRefreshTime: stamp(30 * time.Second), NextRefreshReason: "retry",
		FetchesToday: 31, DailyBudget: 2000, ConsecutiveFailures: 4, Pending: true, Doubt: true, Condemned: true,
		LastFailure: &tokenbrokerv1.UpstreamFailure{Code: "40164", Class: "address", Meaning: "the address that asks is not on the whitelist",
			Remedy: "add the address to the IP whitelist in WeChat's console", Message: "invalid ip 203.0.113.7, not in whitelist", Time: stamp(-20 * time.Second)},
	}, &tokenbrokerv1.TokenStatus{
		Name: "wharf", State: tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE, Version: 9, Ttl: durationpb.New(4 * time.Minute), ExpireTime: stamp(90 * time.Minute),
		Upstream: "wechat classic", Rotating: true, LastRefreshTime: stamp(-30 * time.Minute), NextRefreshTime: stamp(time.Hour), NextRefreshReason: "ahead of expiry",
		FetchesToday: 31, DailyBudget: 2000,
		EarlyDeaths: &tokenbrokerv1.EarlyDeaths{Count: 4, LastTime: stamp(-30 * time.Minute), Meaning: "another system refreshes this app's token", Remedy: "find it"},
		LastFailure: &tokenbrokerv1.UpstreamFailure{Code: "40164", Class: "address", Meaning: "the address that asks is not on the whitelist", Replica: "broker-1",
			Remedy: "add 203.0.113.7 to the IP whitelist", Message: "invalid ip 203.0.113.7, not in whitelist", Time: stamp(-40 * time.Minute)},
	})
	return s
}

func leaderlessStatus() *tokenbrokerv1.GetStatusResponse {
	s := healthyStatus()
	s.Leader, s.Replicas, s.Replica.ViewAge = nil, nil, nil
	s.Tokens[0].State, s.Tokens[0].LastFailure, s.Tokens[0].NextRefreshTime = tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED, nil, nil
	return s
}

// cutOffStatus is what a replica says that was in touch with etcd so long ago, and has fetched alone since; 0: never.
func cutOffStatus(ago time.Duration) *tokenbrokerv1.GetStatusResponse {
	s := healthyStatus()
	s.Leader, s.Replica.InSync, s.Replica.ViewAge = nil, false, nil
	s.Replicas[0].Leading = false
	if ago > 0 {
		s.Replica.ViewAge = durationpb.New(ago)
		s.Tokens[0].Local, s.Tokens[0].Version = true, 1763712345678901
	}
	return s
}
