package server_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func candidate(id string, term int64) server.Candidate {
	return server.Candidate{ID: id, Address: id + ".example:7443", Key: "/tokenbroker/election/" + id, Term: term, Since: time.Now()}
}

func (w *world) status() *tokenbrokerv1.GetStatusResponse {
	w.tb.Helper()
	response, err := w.server.GetStatus(w.tb.Context(), &tokenbrokerv1.GetStatusRequest{})
	if err != nil {
		w.tb.Fatal(err)
	}
	return response
}

func TestStatusTellsEverythingButValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now() // 2000-01-01 00:00 UTC, 08:00 in Shanghai
		w := newBlankWorld(t, clock.New(), server.Config{Started: start})
		w.load()
		w.votes.elect(candidate("a", 7), candidate("b", 9))
		w.votes.lead(7)
		w.commit(classic, time.Hour)
		failed := token.Failure{
			Class: token.Address, Code: "40164", Meaning: "the address is not listed", Remedy: "list 192.0.2.1",
			Message: "invalid ip 192.0.2.1", At: start, Replica: "b",
		}
		w.write(classic, func(rec *token.Record) {
			rec.Pending, rec.Doubt, rec.Condemned = &token.Intent{Attempt: "x"}, true, true
			rec.Failures, rec.LastFailure = 2, failed
			rec.Spent = token.Spending{Day: "2000-01-01", Fetches: 5}
			rec.EarlyDeaths = token.EarlyDeaths{Count: 3, Last: start.Add(time.Second)}
		})
		meaning, remedy := token.Traits{Rotating: true}.EarlyDeath()
		w.plans[classic] = server.Plan{Next: start.Add(time.Minute), Reason: "unsettled fetch", DailyBudget: 1900}
		time.Sleep(3 * time.Second)

		want := &tokenbrokerv1.GetStatusResponse{
			Replica: &tokenbrokerv1.ReplicaStatus{
				Id: "a", Address: "a.example:7443", Version: "v1.2.3", StartTime: timestamppb.New(start), Leading: true,
				ViewAge: durationpb.New(3 * time.Second), Revision: w.revision, InSync: true,
			},
			Leader: &tokenbrokerv1.Leader{
				Id: "a", Address: "a.example:7443", Term: 7, Key: "/tokenbroker/election/a", Since: timestamppb.New(start),
			},
			Replicas: []*tokenbrokerv1.Replica{
				{Id: "a", Address: "a.example:7443", Leading: true, Since: timestamppb.New(start)},
				{Id: "b", Address: "b.example:7443", Since: timestamppb.New(start)},
			},
			Tokens: []*tokenbrokerv1.TokenStatus{
				{
					Name: classic, State: expired, Version: 1, Ttl: durationpb.New(0), ExpireTime: timestamppb.New(start.Add(time.Hour)),
					Upstream: "wechat classic", Rotating: true,
					LastRefreshTime: timestamppb.New(start), NextRefreshTime: timestamppb.New(start.Add(time.Minute)),
					NextRefreshReason: "unsettled fetch",
					LastFailure: &tokenbrokerv1.UpstreamFailure{
						Code: "40164", Class: "address", Meaning: "the address is not listed", Remedy: "list 192.0.2.1",
						Message: "invalid ip 192.0.2.1", Time: timestamppb.New(start), Replica: "b",
					},
					ConsecutiveFailures: 2, FetchesToday: 5, DailyBudget: 1900,
					BudgetResetTime: timestamppb.New(start.Add(16 * time.Hour)),
					Pending:         true, Doubt: true, Condemned: true,
					EarlyDeaths: &tokenbrokerv1.EarlyDeaths{
						Count: 3, LastTime: timestamppb.New(start.Add(time.Second)), Meaning: meaning, Remedy: remedy,
					},
				},
				{
					Name: stable, State: expired, Ttl: durationpb.New(0), Upstream: "wechat stable",
					BudgetResetTime: timestamppb.New(start.Add(16 * time.Hour)),
				},
			},
		}
		if diff := cmp.Diff(want, w.status(), protocmp.Transform()); diff != "" {
			t.Errorf("status differs (-want +got):\n%s", diff)
		}
	})
}

func TestStatusTellsWhatIsNotKnownByLeavingItOut(t *testing.T) {
	w := newBlankWorld(t, clock.New(), server.Config{})
	got := w.status()
	if got.GetLeader() != nil || got.GetReplica().GetLeading() || got.GetReplica().GetViewAge() != nil || len(got.GetReplicas()) != 0 ||
		got.GetReplica().GetInSync() {
		t.Errorf("status is %v", got)
	}
}

func TestAReplicaThatIsCutOffNamesNoLeaderAndKeepsTheCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.votes.elect(candidate("a", 7), candidate("b", 9))
		w.votes.lead(7)
		time.Sleep(view.DefaultSyncWindow - time.Nanosecond)
		if got := w.status(); got.GetLeader().GetId() != "a" || !got.GetReplica().GetLeading() || !got.GetReplica().GetInSync() {
			t.Errorf("before the view is old, status is %v", got)
		}
		time.Sleep(time.Nanosecond)
		got := w.status()
		if got.GetLeader() != nil || got.GetReplica().GetLeading() || got.GetReplica().GetInSync() {
			t.Errorf("it is cut off, and names %v; leading %v, in sync %v", got.GetLeader(), got.GetReplica().GetLeading(), got.GetReplica().GetInSync())
		}
		if n := len(got.GetReplicas()); n != 2 || got.GetReplicas()[0].GetLeading() || got.GetReplicas()[1].GetLeading() {
			t.Errorf("it is cut off, and shows the replicas %v", got.GetReplicas())
		}
		for name, want := range map[string]float64{"leading": 0, "leader_term": 0, "in_sync": 0, "election_candidates": 2} {
			if got := w.metric("tokenbroker_" + name); got != want {
				t.Errorf("it is cut off, and %s is %v, want %v", name, got, want)
			}
		}
		_, err := w.resign(t.Context())
		refused(t, err, codes.Unavailable, server.ReasonStoreAway)

		w.prove()
		if got := w.status(); got.GetLeader().GetId() != "a" || !got.GetReplica().GetLeading() || !got.GetReplica().GetInSync() {
			t.Errorf("back in touch, status is %v", got)
		}
	})
}

func TestALeaderThatIsNotSureOfItsTermIsNotLeading(t *testing.T) {
	w := newWorld(t)
	w.votes.elect(candidate("a", 7), candidate("b", 9))
	for _, term := range []int64{0, 5} { // trust is lost, or of a term that etcd does not know any more
		w.votes.lead(term)
		got := w.status()
		if got.GetReplica().GetLeading() || w.metric("tokenbroker_leading") != 0 {
			t.Errorf("sure of term %d, it says that it leads", term)
		}
		if got.GetLeader().GetTerm() != 7 {
			t.Errorf("etcd names the leader of term 7, and status names %v", got.GetLeader())
		}
	}
}

func TestALocalTokenIsCalledThatWhereverItIsShown(t *testing.T) {
	w := newWorld(t)
	w.commit(stable, time.Hour)
	local := func() []bool {
		got, err := w.server.GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: stable})
		if err != nil {
			t.Fatal(err)
		}
		list, err := w.server.ListTokens(t.Context(), &tokenbrokerv1.ListTokensRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return []bool{
			got.GetToken().GetLocal(), list.GetTokens()[1].GetLocal(), w.status().GetTokens()[1].GetLocal(), w.metric("tokenbroker_token_local", stable) == 1,
		}
	}
	if diff := cmp.Diff([]bool{false, false, false, false}, local()); diff != "" {
		t.Errorf("GetToken, ListTokens, GetStatus, metric of what the leader fetched (-want +got):\n%s", diff)
	}
	version, ok := w.view.Token(stable).ServeLocal("", token.NewSecret("SECRET-alone"), w.clock.Read(), time.Hour)
	if !ok || version <= 1 {
		t.Fatalf("version %d, %v", version, ok)
	}
	if diff := cmp.Diff([]bool{true, true, true, true}, local()); diff != "" {
		t.Errorf("GetToken, ListTokens, GetStatus, metric of what the replica fetched alone (-want +got):\n%s", diff)
	}
}

func TestFetchesOfYesterdayAreNotCountedToday(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write(stable, func(rec *token.Record) { rec.Spent = token.Spending{Day: "2000-01-01", Fetches: 5} })
		time.Sleep(16*time.Hour - time.Nanosecond)
		if n := w.status().GetTokens()[1].GetFetchesToday(); n != 5 {
			t.Errorf("before midnight in Shanghai: %d", n)
		}
		time.Sleep(time.Nanosecond)
		if n := w.status().GetTokens()[1].GetFetchesToday(); n != 0 {
			t.Errorf("at midnight in Shanghai: %d", n)
		}
	})
}

func (w *world) refresh(ctx context.Context, name string, force bool) (*tokenbrokerv1.Token, error) {
	response, err := w.server.RefreshToken(ctx, &tokenbrokerv1.RefreshTokenRequest{Name: name, Force: force})
	return response.GetToken(), err
}

func TestRefreshAnswersWithTheNewTokenWithoutItsValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		w.leader.replies(token.Reply{Verdict: token.VerdictDone})
		asked := time.Now()
		time.AfterFunc(time.Second, w.force)
		got, err := w.refresh(t.Context(), stable, true)
		if err != nil || got.GetVersion() != 2 || got.GetState() != active || got.GetAccessToken() != "" {
			t.Fatalf("%v, %v", got, err)
		}
		want := token.Request{Kind: token.RequestRefresh, Name: stable, Version: 1, Force: true, From: "a", At: asked}
		if q := w.leader.questions(); len(q) != 1 || q[0] != want {
			t.Errorf("asked %+v, want %+v", q, want)
		}
	})
}

func TestRefreshThatBringsTheSameTokenAnswersWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		w.leader.replies(token.Reply{Verdict: token.VerdictUnchanged})
		if got, err := w.refresh(t.Context(), stable, false); err != nil || got.GetVersion() != 1 {
			t.Fatalf("%v, %v", got, err)
		}
	})
}

// TestForcedRefreshIsNotDoneByAnOrdinaryOne: what that replaces lives on for a while.
func TestForcedRefreshIsNotDoneByAnOrdinaryOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		w.leader.replies(token.Reply{Verdict: token.VerdictDone})
		start := time.Now()
		time.AfterFunc(time.Second, func() { w.commit(stable, time.Hour) })
		time.AfterFunc(3*time.Second, w.force)
		got, err := w.refresh(t.Context(), stable, true)
		if err != nil || got.GetVersion() != 3 || time.Since(start) != 3*time.Second {
			t.Errorf("answered after %v: %v, %v", time.Since(start), got, err)
		}
	})
}

func TestRefreshThatNamesAVersionCanBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		w.force()
		w.commit(stable, time.Hour)
		w.leader.replies(token.Reply{Verdict: token.VerdictDone})
		order := func(version int64, force bool) (*tokenbrokerv1.Token, error) {
			response, err := w.server.RefreshToken(t.Context(), &tokenbrokerv1.RefreshTokenRequest{Name: stable, Version: version, Force: force})
			return response.GetToken(), err
		}
		for _, done := range []struct {
			version int64
			force   bool
		}{{1, true}, {1, false}, {2, false}} {
			if got, err := order(done.version, done.force); err != nil || got.GetVersion() != 3 {
				t.Errorf("version %d was replaced, force %v: %v, %v", done.version, done.force, got, err)
			}
		}
		if q := w.leader.questions(); len(q) != 0 {
			t.Errorf("asked %+v", q)
		}
		time.AfterFunc(time.Second, w.force)
		if got, err := order(2, true); err != nil || got.GetVersion() != 4 {
			t.Errorf("version 2 was not killed: %v, %v", got, err)
		}
		if q := w.leader.questions()[0]; q.Version != 2 || !q.Force {
			t.Errorf("asked %+v", q)
		}
		_, err := order(-1, false)
		refused(t, err, codes.InvalidArgument, "")
		w.prove()
		time.AfterFunc(time.Second, w.prove)
		_, err = order(9, true)
		refused(t, err, codes.InvalidArgument, "")
	})
}

func TestForcedAndPlainRefreshAreTwoQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		for _, force := range []bool{true, false, true} {
			go func() { _, _ = w.refresh(t.Context(), stable, force) }()
		}
		synctest.Wait()
		if q := w.leader.questions(); len(q) != 2 || q[0].Force == q[1].Force {
			t.Errorf("asked %v", q)
		}
		time.Sleep(2 * time.Minute)
	})
}

func TestRefreshIsRefusedWithTheReason(t *testing.T) {
	failure := &token.Failure{Class: token.Human, Code: "40125", Meaning: "the secret is wrong", Remedy: "set it anew"}
	leading := []server.Candidate{candidate("b", 3)}
	for name, test := range map[string]struct {
		candidates []server.Candidate
		token      string
		force      bool
		reply      token.Reply
		code       codes.Code
		reason     string
	}{
		"bad name":     {leading, "", false, token.Reply{}, codes.InvalidArgument, ""},
		"unknown name": {leading, "shop", false, token.Reply{}, codes.NotFound, ""},
		"no force":     {leading, classic, true, token.Reply{}, codes.InvalidArgument, ""},
		"exhausted": {
			leading, stable, false, token.Reply{Verdict: token.VerdictExhausted, RetryAfter: time.Hour}, codes.ResourceExhausted, server.ReasonRefreshLimit,
		},
		"failed":    {leading, stable, false, token.Reply{Verdict: token.VerdictFailed, Failure: failure}, codes.Unavailable, server.ReasonRefreshFailed},
		"no answer": {leading, stable, false, token.Reply{Verdict: token.VerdictDone}, codes.DeadlineExceeded, server.ReasonUnsettled},
		"no leader": {nil, stable, false, token.Reply{Verdict: token.VerdictDone}, codes.Unavailable, server.ReasonNoLeader},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.commit(stable, time.Hour)
				w.votes.elect(test.candidates...)
				w.leader.replies(test.reply)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err := w.refresh(ctx, test.token, test.force)
				info, retry := refused(t, err, test.code, test.reason)
				if test.reply.Failure != nil && info.GetMetadata()["upstream_code"] != failure.Code {
					t.Errorf("metadata is %v", info.GetMetadata())
				}
				if retry < test.reply.RetryAfter {
					t.Errorf("come back in %v", retry)
				}
			})
		})
	}
}

func (w *world) resign(ctx context.Context) (*tokenbrokerv1.Leader, error) {
	response, err := w.server.ResignLeadership(ctx, &tokenbrokerv1.ResignLeadershipRequest{})
	return response.GetLeader(), err
}

func TestResignAnswersWhenAnotherTermHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.votes.elect(candidate("b", 3), candidate("a", 5))
		w.leader.replies(token.Reply{Verdict: token.VerdictDone})
		begin := time.Now()
		time.AfterFunc(time.Second, func() { w.votes.elect() })
		time.AfterFunc(2*time.Second, func() { w.votes.elect(candidate("a", 5)) })
		got, err := w.resign(t.Context())
		if err != nil || got.GetId() != "a" || got.GetTerm() != 5 || time.Since(begin) != 2*time.Second {
			t.Fatalf("after %v: %v, %v", time.Since(begin), got, err)
		}
		if q := w.leader.questions(); len(q) != 1 || q[0].Kind != token.RequestResign || q[0].Version != 3 {
			t.Errorf("asked %v", q)
		}
	})
}

func TestResignWithoutALeaderIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, err := w.resign(t.Context())
		refused(t, err, codes.Unavailable, server.ReasonNoLeader)

		w.votes.elect(candidate("b", 3))
		w.leader.replies(token.Reply{Verdict: token.VerdictDone})
		time.AfterFunc(time.Second, func() { w.votes.elect() })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = w.resign(ctx)
		refused(t, err, codes.Unavailable, server.ReasonNoLeader)
	})
}

func TestVerdictThatNobodyKnowsIsAnInternalError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.votes.elect(candidate("b", 3))
		w.leader.replies(token.Reply{Verdict: "maybe"})
		if _, err := w.resign(t.Context()); err == nil || !strings.Contains(err.Error(), "maybe") {
			t.Errorf("error is %v", err)
		}
	})
}
