package server_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func byVersion(name string, version int64) *tokenbrokerv1.ReportInvalidTokenRequest {
	return &tokenbrokerv1.ReportInvalidTokenRequest{Name: name, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: version}}
}

func byValue(value string) *tokenbrokerv1.ReportInvalidTokenRequest {
	return &tokenbrokerv1.ReportInvalidTokenRequest{Name: stable, Reported: &tokenbrokerv1.ReportInvalidTokenRequest_AccessToken{AccessToken: value}}
}

// report calls ReportInvalidToken and returns how long it took, too.
func (w *world) report(ctx context.Context, req *tokenbrokerv1.ReportInvalidTokenRequest) (*tokenbrokerv1.Token, time.Duration, error) {
	begin := time.Now()
	response, err := w.server.ReportInvalidToken(ctx, req)
	return response.GetToken(), time.Since(begin), err
}

// twoVersions is a world in which version 2 is current.
func twoVersions(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.commit(stable, time.Hour)
	w.commit(stable, time.Hour)
	return w
}

func TestReportOfAnythingButTheCurrentTokenIsAnsweredAtOnceAndAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		for _, req := range []*tokenbrokerv1.ReportInvalidTokenRequest{
			byVersion(stable, 1), byValue(value(stable, 1)), byValue("SECRET of somebody else"),
		} {
			got, took, err := w.report(t.Context(), req)
			if err != nil || took != 0 || got.GetVersion() != 2 || got.GetAccessToken() != value(stable, 2) || got.GetState() != active {
				t.Errorf("took %v: %v, %v", took, got, err)
			}
		}
		if asked := w.leader.questions(); len(asked) != 0 {
			t.Errorf("the leader was asked %v", asked)
		}
	})
}

func TestReportOfTheCurrentTokenAsksTheLeaderAndWaitsUntilTheNewOneIsSeen(t *testing.T) {
	for name, req := range map[string]*tokenbrokerv1.ReportInvalidTokenRequest{
		"by version": byVersion(stable, 2), "by value": byValue(value(stable, 2)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := twoVersions(t)
				w.leader.replies(token.Reply{Verdict: token.VerdictDone})
				asked := time.Now()
				time.AfterFunc(700*time.Millisecond, func() { w.commit(stable, time.Hour) })
				got, took, err := w.report(t.Context(), req)
				if err != nil || took != 700*time.Millisecond || got.GetVersion() != 3 || got.GetAccessToken() != value(stable, 3) {
					t.Fatalf("took %v: %v, %v", took, got, err)
				}
				want := token.Request{Kind: token.RequestReport, Name: stable, Version: 2, From: "a", At: asked}
				if q := w.leader.questions(); len(q) != 1 || q[0] != want {
					t.Errorf("asked %+v, want %+v", q, want)
				}
			})
		})
	}
}

func TestNewTokenAnswersAReportBeforeTheLeaderDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		time.AfterFunc(700*time.Millisecond, func() { w.commit(stable, time.Hour) })
		got, took, err := w.report(t.Context(), byVersion(stable, 2))
		if err != nil || took != 700*time.Millisecond || got.GetVersion() != 3 {
			t.Fatalf("took %v: %v, %v", took, got, err)
		}
		time.Sleep(time.Minute) // the question ends by itself
	})
}

func TestReportOfATokenThatLivesReturnsTheSameToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		w.leader.replies(token.Reply{Verdict: token.VerdictUnchanged, Reason: "the upstream accepts the token"})
		got, took, err := w.report(t.Context(), byVersion(stable, 2))
		if err != nil || took != 0 || got.GetVersion() != 2 || got.GetState() != active {
			t.Fatalf("took %v: %v, %v", took, got, err)
		}
	})
}

func TestReportsOfOneVersionShareOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		var callers sync.WaitGroup
		var answered atomic.Int64
		for i := range 100 {
			req := byVersion(stable, 2)
			if i%2 == 0 {
				req = byValue(value(stable, 2))
			}
			callers.Go(func() {
				if got, _, err := w.report(t.Context(), req); err == nil && got.GetVersion() == 3 {
					answered.Add(1)
				}
			})
		}
		time.Sleep(time.Second)
		w.commit(stable, time.Hour)
		callers.Wait()
		if answered.Load() != 100 || len(w.leader.questions()) != 1 {
			t.Errorf("%d of 100 answered, %d questions", answered.Load(), len(w.leader.questions()))
		}
		time.Sleep(time.Minute)
	})
}

func TestExhaustedReportSaysWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		w.leader.replies(token.Reply{Verdict: token.VerdictExhausted, RetryAfter: 20 * time.Second, Reason: "30 s apart"})
		_, _, err := w.report(t.Context(), byVersion(stable, 2))
		_, retry := refused(t, err, codes.ResourceExhausted, server.ReasonRefreshLimit)
		if retry < 20*time.Second || retry > 23*time.Second || !strings.Contains(err.Error(), "30 s apart") {
			t.Errorf("come back in %v: %v", retry, err)
		}
	})
}

func TestReportWhoseFetchFailedTellsWhatTheUpstreamSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		w.leader.replies(token.Reply{
			Verdict: token.VerdictFailed, RetryAfter: 5 * time.Second,
			Failure: &token.Failure{Class: token.Human, Code: "40125", Meaning: "the secret is wrong", Remedy: "set it anew"},
		})
		_, _, err := w.report(t.Context(), byVersion(stable, 2))
		info, retry := refused(t, err, codes.Unavailable, server.ReasonRefreshFailed)
		meta := info.GetMetadata()
		if meta["upstream_code"] != "40125" || meta["upstream_meaning"] != "the secret is wrong" || meta["upstream_remedy"] != "set it anew" {
			t.Errorf("metadata is %v", meta)
		}
		if retry < 5*time.Second {
			t.Errorf("come back in %v", retry)
		}
	})
}

func TestCauseWhyTheLeaderCouldNotBeAskedIsLoggedOnceAndNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		w.leader.answer = func(context.Context, token.Request) (token.Reply, error) {
			time.Sleep(time.Second)
			return token.Reply{}, status.Error(codes.PermissionDenied, "etcd's own words")
		}
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				_, _, err := w.report(t.Context(), byVersion(stable, 2))
				refused(t, err, codes.Unavailable, server.ReasonStoreAway)
				if strings.Contains(err.Error(), "etcd's own words") {
					t.Errorf("the cause was answered: %v", err)
				}
			})
		}
		callers.Wait()
		if n := strings.Count(w.log.String(), "etcd's own words"); n != 1 {
			t.Errorf("the cause was logged %d times", n)
		}
	})
}

func TestReportStandsWhenTheCallersDeadlineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		ended := make(chan time.Duration, 1)
		begin := time.Now()
		w.leader.answer = func(ctx context.Context, _ token.Request) (token.Reply, error) {
			<-ctx.Done()
			ended <- time.Since(begin)
			return token.Reply{}, ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, took, err := w.report(ctx, byVersion(stable, 2))
		refused(t, err, codes.DeadlineExceeded, server.ReasonUnsettled)
		if took < 4*time.Second || took >= 5*time.Second {
			t.Errorf("took %v", took)
		}
		if asked := <-ended; asked != time.Minute {
			t.Errorf("the question ended after %v", asked)
		}
	})
}

func TestReportThatMayNotHaveLeftACutOffReplicaIsToBeMadeElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // beyond the view's sync window
		defer cancel()
		_, took, err := w.report(ctx, byVersion(stable, 2))
		refused(t, err, codes.Unavailable, server.ReasonStoreAway)
		if took > view.DefaultSyncWindow+3*time.Second {
			t.Errorf("it is cut off after %v, and the report was kept for %v", view.DefaultSyncWindow, took)
		}
		if text := err.Error(); !strings.Contains(text, "has been cut off from etcd since ") || !strings.Contains(text, "ask another") {
			t.Errorf("error is %q", text)
		}
		time.Sleep(time.Minute)
	})
}

func TestCallerWhoOutlastsAQuestionHasItAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		defer w.stayInSync()()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		time.AfterFunc(150*time.Second, func() { w.commit(stable, time.Hour) })
		if got, _, err := w.report(ctx, byVersion(stable, 2)); err != nil || got.GetVersion() != 3 {
			t.Fatalf("%v, %v", got, err)
		}
		if n := len(w.leader.questions()); n != 3 {
			t.Errorf("asked %d times", n)
		}
		time.Sleep(time.Minute)
	})
}

func TestReportOfAValueWhereThereIsNoTokenAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, _, err := w.report(t.Context(), byValue("SECRET"))
		refused(t, err, codes.Unavailable, server.ReasonNoTokenYet)
		if asked := w.leader.questions(); len(asked) != 0 {
			t.Errorf("the leader was asked %v", asked)
		}
	})
}

func TestReportOfACondemnedTokenIsUnavailableWhileNoNewOneComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		w.write(stable, func(rec *token.Record) { rec.Condemned = true })
		w.leader.replies(token.Reply{Verdict: token.VerdictUnchanged})
		_, took, err := w.report(t.Context(), byVersion(stable, 2))
		refused(t, err, codes.Unavailable, server.ReasonCondemned)
		if took != time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestReportOfAVersionThatALaggingReplicaHearsOfSoonIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		w.leader.replies(token.Reply{Verdict: token.VerdictUnchanged})
		time.AfterFunc(600*time.Millisecond, func() { w.commit(stable, time.Hour) })
		got, took, err := w.report(t.Context(), byVersion(stable, 3))
		if err != nil || got.GetVersion() != 3 || took != 600*time.Millisecond {
			t.Fatalf("took %v: %v, %v", took, got, err)
		}
		if q := w.leader.questions(); len(q) != 1 || q[0].Version != 3 {
			t.Errorf("asked %v", q)
		}
	})
}

func TestReportOfAVersionThatNeverWasIsInvalidOnceThatIsProved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		time.Sleep(time.Second)
		time.AfterFunc(1500*time.Millisecond, w.prove)
		_, took, err := w.report(t.Context(), byVersion(stable, 9))
		refused(t, err, codes.InvalidArgument, "")
		if took < 1500*time.Millisecond || took > 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestReportOfAVersionThatTheReplicaCannotJudgeIsToBeMadeElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t) // proved current, but not since the calls arrive
		time.Sleep(5 * time.Second)
		_, took, err := w.report(t.Context(), byVersion(stable, 9))
		refused(t, err, codes.Unavailable, server.ReasonLagging)
		if took != 3*time.Second {
			t.Errorf("took %v", took)
		}
		time.Sleep(5 * time.Second) // cut off
		_, took, err = w.report(t.Context(), byVersion(stable, 9))
		refused(t, err, codes.Unavailable, server.ReasonLagging)
		if took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestMalformedReportsAreRefused(t *testing.T) {
	w := twoVersions(t)
	for name, test := range map[string]struct {
		req  *tokenbrokerv1.ReportInvalidTokenRequest
		code codes.Code
		says string
	}{
		"nothing reported": {&tokenbrokerv1.ReportInvalidTokenRequest{Name: stable}, codes.InvalidArgument, "reported:"},
		"version 0":        {byVersion(stable, 0), codes.InvalidArgument, "version:"},
		"negative version": {byVersion(stable, -1), codes.InvalidArgument, "version:"},
		"empty value":      {byValue(""), codes.InvalidArgument, "access_token:"},
		"bad name":         {byVersion("-", 1), codes.InvalidArgument, "name:"},
		"unknown name":     {byVersion("shop", 1), codes.NotFound, `"shop"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := w.report(t.Context(), test.req)
			refused(t, err, test.code, "")
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q does not contain %q", err, test.says)
			}
		})
	}
}

func TestTokenTakenOutOfTheConfigurationEndsItsReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		time.AfterFunc(time.Second, func() {
			if err := w.view.Configure(nil); err != nil {
				t.Error(err)
			}
		})
		_, took, err := w.report(t.Context(), byVersion(stable, 2))
		refused(t, err, codes.NotFound, "")
		if took != time.Second {
			t.Errorf("took %v", took)
		}
		time.Sleep(time.Minute)
	})
}

func TestPanicWhileAskingTheLeaderDoesNotEndTheReplica(t *testing.T) {
	w := twoVersions(t)
	w.leader.answer = func(context.Context, token.Request) (token.Reply, error) { panic(errors.New("SECRET")) }
	_, _, err := w.report(t.Context(), byVersion(stable, 2))
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("error is %v", err)
	}
}

// The leader knows nothing of a value that a replica fetched alone. Told of its version, it fetches.
func TestReportOfALocalTokenTellsTheLeaderOfItsVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoVersions(t)
		local, served := w.view.Token(stable).ServeLocal("", token.NewSecret("SECRET local"), w.clock.Read(), time.Hour)
		if !served {
			t.Fatal("the local token is not served")
		}
		w.leader.replies(token.Reply{Verdict: token.VerdictDone})
		time.AfterFunc(700*time.Millisecond, func() {
			w.write(stable, func(rec *token.Record) { rec.Version = local })
			w.commit(stable, time.Hour)
		})
		got, took, err := w.report(t.Context(), byValue("SECRET local"))
		if err != nil || took != 700*time.Millisecond || got.GetVersion() != local+1 {
			t.Fatalf("took %v: %v, %v", took, got, err)
		}
		if q := w.leader.questions(); len(q) != 1 || q[0].Kind != token.RequestFloor || q[0].Version != local {
			t.Errorf("asked %+v, want the floor %d", q, local)
		}
	})
}
