package agent_test

import (
	"context"
	"testing"
	"time"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func byVersion(version int64) *tokenbrokerv1.ReportInvalidTokenRequest {
	return &tokenbrokerv1.ReportInvalidTokenRequest{Name: "shop", Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: version}}
}

func byValue(value string) *tokenbrokerv1.ReportInvalidTokenRequest {
	return &tokenbrokerv1.ReportInvalidTokenRequest{Name: "shop", Reported: &tokenbrokerv1.ReportInvalidTokenRequest_AccessToken{AccessToken: value}}
}

func (w *world) report(req *tokenbrokerv1.ReportInvalidTokenRequest) (*tokenbrokerv1.Token, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	answer, err := w.api.ReportInvalidToken(ctx, req)
	return answer.GetToken(), err
}

func TestAReportBringsTheNextVersionToEverybody(t *testing.T) {
	for name, how := range map[string]*tokenbrokerv1.ReportInvalidTokenRequest{"by version": byVersion(1), "by value": byValue(value(1))} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.broker.Set("shop", value(1), time.Hour)
				w.start()
				got, err := w.report(how) // the agent has never heard of the token
				if err != nil || got.GetVersion() != 2 || got.GetAccessToken() == value(1) {
					t.Fatalf("got %v, %v", got, err)
				}
				if again := w.must(); again.GetVersion() != 2 {
					t.Errorf("the next caller gets version %d", again.GetVersion())
				}
				if n := w.broker.Reports("shop"); n != 1 {
					t.Errorf("the broker was told %d times", n)
				}
			})
		})
	}
}

func TestAReportOfWhatIsNotHeldIsAnsweredFromMemory(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.broker.Set("shop", value(2), time.Hour)
		w.start()
		for _, req := range []*tokenbrokerv1.ReportInvalidTokenRequest{byVersion(1), byValue(value(1)), byValue("anything")} {
			got, err := w.report(req)
			if err != nil || got.GetVersion() != 2 {
				t.Errorf("got %v, %v", got, err)
			}
		}
		if n := w.broker.Reports("shop"); n != 0 {
			t.Errorf("the broker was told %d times", n)
		}
	})
}

func TestAReportOfANewerVersionIsTheBrokersToJudge(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.start()
		w.must()
		_, err := w.report(byVersion(7))
		expect(t, "a version that never was", err, "InvalidArgument")
		w.network.Cut() // nothing is heard of the next version
		w.broker.Set("shop", value(2), time.Hour)
		_, err = w.report(byVersion(2))
		expect(t, "what nobody can judge", err, "Unavailable tokenbroker/CLUSTER_UNREACHABLE with a time")
		w.network.Heal()
		time.Sleep(time.Minute)
		got, err := w.report(byVersion(2))
		if err != nil || got.GetVersion() != 3 {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestATokenThatWasReportedInAnOutageIsKeptFromAll(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.start()
		w.must()
		w.network.Cut()
		_, err := w.report(byVersion(1))
		expect(t, "the report", err, "DeadlineExceeded tokenbroker/UNSETTLED")
		_, err = w.get(0)
		expect(t, "another caller", err, "Unavailable tokenbroker/CLUSTER_UNREACHABLE with a time")
		w.network.Heal()
		time.Sleep(time.Minute)
		if got := w.must(); got.GetVersion() != 2 {
			t.Errorf("after the outage the version is %d", got.GetVersion())
		}
	})
}

func TestAVouchedTokenStays(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.broker.Vouch("shop")
		w.start()
		w.must()
		if got, err := w.report(byVersion(1)); err != nil || got.GetVersion() != 1 {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestMalformedReportsAreRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.broker.Set("shop", value(1), time.Hour)
		w.start()
		for what, req := range map[string]*tokenbrokerv1.ReportInvalidTokenRequest{
			"version 0": byVersion(0), "an empty value": byValue(""), "nothing": {Name: "shop"},
			"no name": {Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: 1}},
		} {
			_, err := w.report(req)
			expect(t, what, err, "InvalidArgument")
		}
		_, err := w.api.ReportInvalidToken(t.Context(), &tokenbrokerv1.ReportInvalidTokenRequest{
			Name: "nope", Reported: &tokenbrokerv1.ReportInvalidTokenRequest_Version{Version: 1}})
		expect(t, "an unknown name", err, "NotFound")
	})
}
