package server_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	active  = tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE
	suspect = tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT
	expired = tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED
)

// get calls GetToken and returns how long it took, too.
func (w *world) get(ctx context.Context, name string, least time.Duration) (*tokenbrokerv1.Token, time.Duration, error) {
	req := &tokenbrokerv1.GetTokenRequest{Name: name}
	if least != 0 {
		req.MinTtl = durationpb.New(least)
	}
	begin := time.Now()
	response, err := w.server.GetToken(ctx, req)
	return response.GetToken(), time.Since(begin), err
}

func TestActiveTokenIsAnsweredAtOnceWithItsRemainingLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		time.Sleep(10 * time.Minute)
		got, took, err := w.get(t.Context(), stable, 0)
		if err != nil || took != 0 {
			t.Fatalf("took %v: %v", took, err)
		}
		if got.GetName() != stable || got.GetVersion() != 1 || got.GetState() != active || got.GetAccessToken() != value(stable, 1) {
			t.Fatalf("answer is %v", got)
		}
		if ttl := got.GetTtl().AsDuration(); ttl != 50*time.Minute {
			t.Errorf("ttl is %v", ttl)
		}
		if left := time.Until(got.GetExpireTime().AsTime()); left != 50*time.Minute {
			t.Errorf("expire_time is in %v", left)
		}
	})
}

func TestRotatingTokenIsPromisedForTheWindowOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(classic, time.Hour)
		w.prove()
		time.Sleep(30 * time.Second)
		got, _, err := w.get(t.Context(), classic, 0)
		if err != nil || got.GetTtl().AsDuration() != window-30*time.Second {
			t.Fatalf("ttl is %v: %v", got.GetTtl().AsDuration(), err)
		}
		if left := time.Until(got.GetExpireTime().AsTime()); left != time.Hour-30*time.Second {
			t.Errorf("expire_time is in %v", left)
		}
	})
}

func TestRefreshAfterIsJitteredBetweenHalfAndThreeQuartersOfTheLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		seen := map[time.Duration]bool{}
		for range 200 {
			got, _, err := w.get(t.Context(), stable, 0)
			if err != nil {
				t.Fatal(err)
			}
			after := got.GetRefreshAfter().AsDuration()
			if after < 30*time.Minute || after > 45*time.Minute {
				t.Fatalf("refresh_after is %v of an hour", after)
			}
			seen[after] = true
		}
		if len(seen) < 190 {
			t.Errorf("only %d of 200 callers were told different times", len(seen))
		}
	})
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.commit(stable, time.Hour)
	for name, test := range map[string]struct {
		req  *tokenbrokerv1.GetTokenRequest
		code codes.Code
		says string
	}{
		"no name":          {&tokenbrokerv1.GetTokenRequest{}, codes.InvalidArgument, "name:"},
		"bad name":         {&tokenbrokerv1.GetTokenRequest{Name: "Shop"}, codes.InvalidArgument, "name:"},
		"long name":        {&tokenbrokerv1.GetTokenRequest{Name: strings.Repeat("a", 64)}, codes.InvalidArgument, "name:"},
		"unknown name":     {&tokenbrokerv1.GetTokenRequest{Name: "shop"}, codes.NotFound, `"shop"`},
		"negative min_ttl": {&tokenbrokerv1.GetTokenRequest{Name: stable, MinTtl: durationpb.New(-1)}, codes.InvalidArgument, "min_ttl:"},
		"invalid min_ttl": {
			&tokenbrokerv1.GetTokenRequest{Name: stable, MinTtl: &durationpb.Duration{Seconds: 1, Nanos: -1}}, codes.InvalidArgument, "min_ttl:",
		},
		"absurd min_ttl": {
			&tokenbrokerv1.GetTokenRequest{Name: stable, MinTtl: &durationpb.Duration{Seconds: math.MaxInt64}}, codes.InvalidArgument, "min_ttl:",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.server.GetToken(t.Context(), test.req)
			refused(t, err, test.code, "")
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q does not contain %q", err, test.says)
			}
		})
	}
}

func TestMinTTLThatIsNeverPromisedFailsThePrecondition(t *testing.T) {
	w := newWorld(t)
	w.commit(stable, time.Hour)
	w.commit(classic, time.Hour)
	for name, least := range map[string]time.Duration{stable: 2*time.Hour + 1, classic: window + 1} {
		_, _, err := w.get(t.Context(), name, least)
		refused(t, err, codes.FailedPrecondition, server.ReasonMinTTLTooLong)
	}
}

// suspectWorld is in sync, and holds a rotating token whose promise ran out while a fetch is pending.
func suspectWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.commit(classic, time.Hour)
	w.begin(classic)
	time.Sleep(window)
	w.prove()
	return w
}

func TestSuspectTokenIsAnsweredAfterOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := suspectWorld(t)
		got, took, err := w.get(t.Context(), classic, 0)
		if err != nil || took != time.Second {
			t.Fatalf("took %v: %v", took, err)
		}
		if got.GetState() != suspect || got.GetTtl().AsDuration() != 0 || got.GetAccessToken() != value(classic, 1) {
			t.Fatalf("answer is %v", got)
		}
		if after := got.GetRefreshAfter().AsDuration(); after < time.Second || after > 2*time.Second {
			t.Errorf("refresh_after is %v", after)
		}
	})
}

func TestCommitDuringTheWaitIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := suspectWorld(t)
		time.AfterFunc(300*time.Millisecond, func() { w.commit(classic, time.Hour) })
		got, took, err := w.get(t.Context(), classic, 0)
		if err != nil || took != 300*time.Millisecond {
			t.Fatalf("took %v: %v", took, err)
		}
		if got.GetVersion() != 2 || got.GetState() != active || got.GetTtl().AsDuration() != window-300*time.Millisecond {
			t.Fatalf("answer is %v", got)
		}
	})
}

func TestSuspectTokenIsAnsweredAtOnceWhereNoCommitWouldBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(classic, time.Hour)
		time.Sleep(window)
		got, took, err := w.get(t.Context(), classic, 0)
		if err != nil || took != 0 || got.GetState() != suspect {
			t.Fatalf("took %v: %v, %v", took, got, err)
		}
	})
}

func TestSuspectAnswerArrivesBeforeTheCallersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := suspectWorld(t)
		for _, deadline := range []time.Duration{40 * time.Millisecond, 400 * time.Millisecond, 900 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			got, took, err := w.get(ctx, classic, 0)
			cancel()
			if err != nil || got.GetState() != suspect || took < deadline/2 || took >= deadline {
				t.Errorf("with a deadline of %v: took %v: %v, %v", deadline, took, got, err)
			}
		}
	})
}

func TestExpiredTokenIsUnavailableAfterOneSecond(t *testing.T) {
	failure := token.Failure{Class: token.Address, Code: "40164", Meaning: "the address is not listed", Remedy: "list it"}
	for name, test := range map[string]struct {
		prepare func(*world)
		reason  string
		blamed  bool
	}{
		"never fetched": {func(*world) {}, server.ReasonNoTokenYet, false},
		"first fetch failed": {func(w *world) {
			w.write(stable, func(rec *token.Record) { rec.Failures, rec.LastFailure = 1, failure })
		}, server.ReasonNoTokenYet, true},
		"past its end": {func(w *world) {
			w.commit(stable, time.Minute)
			w.write(stable, func(rec *token.Record) { rec.Failures, rec.LastFailure = 3, failure })
			time.Sleep(time.Minute)
		}, server.ReasonExpired, true},
		"an older failure is not blamed": {func(w *world) {
			w.commit(stable, time.Minute)
			w.write(stable, func(rec *token.Record) { rec.LastFailure = failure })
			time.Sleep(time.Minute)
		}, server.ReasonExpired, false},
		"condemned": {func(w *world) {
			w.commit(stable, time.Hour)
			w.write(stable, func(rec *token.Record) { rec.Condemned = true })
		}, server.ReasonCondemned, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				test.prepare(w)
				w.prove()
				_, took, err := w.get(t.Context(), stable, 0)
				info, retry := refused(t, err, codes.Unavailable, test.reason)
				if took != time.Second {
					t.Errorf("took %v", took)
				}
				if retry < time.Second || retry > 2*time.Second {
					t.Errorf("the caller is sent away for %v", retry)
				}
				meta := info.GetMetadata()
				blamed := meta["upstream_code"] == failure.Code && meta["upstream_meaning"] == failure.Meaning && meta["upstream_remedy"] == failure.Remedy
				if blamed != test.blamed || blamed != strings.Contains(err.Error(), failure.Meaning) {
					t.Errorf("metadata is %v in %q", meta, err)
				}
			})
		})
	}
}

func TestExpiredTokenIsUnavailableAtOnceWhereNoCommitWouldBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		time.Sleep(view.DefaultSyncWindow)
		_, took, err := w.get(t.Context(), stable, 0)
		refused(t, err, codes.Unavailable, server.ReasonNoTokenYet)
		if took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestMinTTLWaitsForTheNextTokenUntilTheCallersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, 5*time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		time.AfterFunc(3*time.Minute, func() { w.commit(stable, time.Hour) })
		got, took, err := w.get(ctx, stable, 10*time.Minute)
		if err != nil || took != 3*time.Minute || got.GetVersion() != 2 {
			t.Fatalf("took %v: %v, %v", took, got, err)
		}
	})
}

func TestMinTTLThatIsThereIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, 5*time.Minute)
		if got, took, err := w.get(t.Context(), stable, 5*time.Minute); err != nil || took != 0 || got.GetVersion() != 1 {
			t.Fatalf("took %v: %v, %v", took, got, err)
		}
	})
}

func TestMinTTLIsMetByARenewedProofWithoutAnyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(classic, time.Hour)
		w.prove()
		time.Sleep(5 * time.Second)
		time.AfterFunc(500*time.Millisecond, w.prove)
		got, took, err := w.get(t.Context(), classic, window-time.Second)
		if err != nil || took > time.Second || got.GetTtl().AsDuration() < window-time.Second {
			t.Fatalf("took %v: %v, %v", took, got, err)
		}
	})
}

func TestMinTTLThatIsNotMetEndsWithAClearTextBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, 5*time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, took, err := w.get(ctx, stable, 10*time.Minute)
		refused(t, err, codes.DeadlineExceeded, server.ReasonMinTTLNotMet)
		if took >= 10*time.Second || took < 9*time.Second {
			t.Errorf("took %v", took)
		}
		if !strings.Contains(err.Error(), "min_ttl asks for 10m0s") {
			t.Errorf("text is %q", err)
		}
	})
}

func TestMinTTLWithoutADeadlineWaitsSixtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, 5*time.Minute)
		_, took, err := w.get(t.Context(), stable, 10*time.Minute)
		refused(t, err, codes.DeadlineExceeded, server.ReasonMinTTLNotMet)
		if took != time.Minute {
			t.Errorf("took %v", took)
		}
	})
}

func TestMinTTLOfATokenThatExpiresMeanwhileIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, 30*time.Second)
		_, _, err := w.get(t.Context(), stable, 10*time.Minute)
		refused(t, err, codes.Unavailable, server.ReasonExpired)
	})
}

func TestCallerThatGoesAwayEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		_, took, err := w.get(ctx, stable, time.Minute)
		if took != 300*time.Millisecond || err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
			t.Fatalf("took %v: %v", took, err)
		}
	})
}

func TestTokenTakenOutOfTheConfigurationEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		time.AfterFunc(300*time.Millisecond, func() {
			if err := w.view.Configure(specs()[1:]); err != nil {
				t.Error(err)
			}
		})
		_, took, err := w.get(t.Context(), stable, 0)
		refused(t, err, codes.NotFound, "")
		if took != 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestTokenWhoseUpstreamWasReplacedIsToBeAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		time.AfterFunc(300*time.Millisecond, func() {
			changed := specs()
			changed[0].Traits.MaxLife = time.Hour
			if err := w.view.Configure(changed); err != nil {
				t.Error(err)
			}
		})
		_, _, err := w.get(t.Context(), stable, 0)
		refused(t, err, codes.Unavailable, server.ReasonReconfigured)
	})
}

func TestListTokensShowsEveryTokenAndNoValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(stable, time.Hour)
		w.prove()
		response, err := w.server.ListTokens(t.Context(), &tokenbrokerv1.ListTokensRequest{})
		if err != nil {
			t.Fatal(err)
		}
		tokens := response.GetTokens()
		if len(tokens) != 2 || tokens[0].GetName() != classic || tokens[1].GetName() != stable {
			t.Fatalf("list is %v", tokens)
		}
		if got := tokens[0]; got.GetState() != expired || got.GetVersion() != 0 || got.GetExpireTime() != nil {
			t.Errorf("token without a value is listed as %v", got)
		}
		if got := tokens[1]; got.GetState() != active || got.GetVersion() != 1 || got.GetTtl().AsDuration() != time.Hour {
			t.Errorf("active token is listed as %v", got)
		}
		if strings.Contains(response.String(), "SECRET") {
			t.Error("the list shows a value")
		}
	})
}
