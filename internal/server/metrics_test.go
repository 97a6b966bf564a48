package server_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func getRequest(name string, least time.Duration) *tokenbrokerv1.GetTokenRequest {
	return &tokenbrokerv1.GetTokenRequest{Name: name, MinTtl: durationpb.New(least)}
}

func (w *world) gather() []*dto.MetricFamily {
	w.tb.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.server)
	families, err := registry.Gather()
	if err != nil {
		w.tb.Fatal(err)
	}
	return families
}

// metric returns the value of the only series of that name whose labels have all the given values.
func (w *world) metric(name string, labels ...string) float64 {
	w.tb.Helper()
	var found []float64
	for _, family := range w.gather() {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			have := map[string]bool{}
			for _, label := range m.GetLabel() {
				have[label.GetValue()] = true
			}
			matches := true
			for _, want := range labels {
				matches = matches && have[want]
			}
			if matches {
				found = append(found, m.GetGauge().GetValue()+m.GetCounter().GetValue()+float64(m.GetHistogram().GetSampleCount()))
			}
		}
	}
	if len(found) != 1 {
		w.tb.Fatalf("%d series of %s with %v", len(found), name, labels)
	}
	return found[0]
}

// awaitStarted blocks until that many calls of the method have arrived.
func (w *world) awaitStarted(method string, calls float64) {
	w.tb.Helper()
	for w.metric("grpc_server_started_total", method) < calls {
		time.Sleep(time.Millisecond)
	}
}

func TestMetricsKeepPrometheusConventions(t *testing.T) {
	w := newWorld(t)
	w.commit(stable, time.Hour)
	w.write(stable, func(rec *token.Record) {
		rec.LastFailure = token.Failure{Class: token.Human, Code: "40125", At: time.Now()}
	})
	problems, err := promlint.NewWithMetricFamilies(w.gather()).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestTokenMetricsFollowTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plans[classic] = server.Plan{DailyBudget: 1900, Next: time.Unix(1000, 0)}
		w.commit(classic, time.Hour)
		w.write(classic, func(rec *token.Record) {
			rec.Spent = token.Spending{Day: "2000-01-01", Fetches: 5}
			rec.Failures, rec.LastFailure = 2, token.Failure{Class: token.Human, Code: "40125", At: time.Unix(500, 0)}
		})
		w.prove()
		expect := func(name string, want float64, labels ...string) {
			t.Helper()
			if got := w.metric("tokenbroker_token_"+name, append(labels, classic)...); got != want {
				t.Errorf("%s %v is %v, want %v", name, labels, got, want)
			}
		}
		time.Sleep(10 * time.Second)
		w.prove()
		time.Sleep(5 * time.Second)
		expect("ttl_seconds", 235)
		expect("nominal_seconds", 3585)
		expect("until_callers_fail_seconds", 3585)
		expect("state", 1, "active")
		expect("state", 0, "suspect")
		expect("state", 0, "expired")
		expect("version", 1)
		expect("pending", 0)
		expect("doubt", 0)
		expect("condemned", 0)
		expect("early_deaths_total", 0)
		expect("consecutive_failures", 2)
		expect("fetches_today", 5)
		expect("daily_budget", 1900)
		expect("last_refresh_timestamp_seconds", float64(w.records[classic].IssuedAt.Unix()))
		expect("next_refresh_timestamp_seconds", 1000)
		expect("last_failure_timestamp_seconds", 500, "40125", "human")

		time.Sleep(5 * time.Second) // cut off: only the promise counts now
		expect("until_callers_fail_seconds", 230)
		w.prove()
		w.begin(classic)
		time.Sleep(5 * time.Second)
		w.prove()
		expect("pending", 1)
		expect("until_callers_fail_seconds", 235)
		w.write(classic, func(rec *token.Record) { rec.Doubt = true })
		expect("doubt", 1)
		time.Sleep(window)
		expect("state", 1, "suspect")
		expect("until_callers_fail_seconds", 0)
		w.write(classic, func(rec *token.Record) { rec.Condemned, rec.EarlyDeaths.Count = true, 1 })
		expect("condemned", 1)
		expect("early_deaths_total", 1)
		expect("state", 1, "expired")
	})
}

func TestReplicaMetricsFollowTheElectionAndTheView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBlankWorld(t, clock.New(), server.Config{})
		if age := w.metric("tokenbroker_view_age_seconds"); !math.IsInf(age, 1) {
			t.Errorf("age of a view that was never proved is %v", age)
		}
		if w.metric("tokenbroker_leading") != 0 || w.metric("tokenbroker_leader_term") != 0 {
			t.Error("a leader is shown where there is none")
		}
		w.load()
		time.Sleep(3 * time.Second)
		w.votes.elect(candidate("b", 7), candidate("a", 9))
		if got := w.metric("tokenbroker_view_age_seconds"); got != 3 {
			t.Errorf("age is %v", got)
		}
		if w.metric("tokenbroker_leading") != 0 || w.metric("tokenbroker_leader_term") != 7 || w.metric("tokenbroker_election_candidates") != 2 {
			t.Error("the election is not shown as it is")
		}
		w.votes.elect(candidate("a", 9))
		w.votes.lead(9)
		if w.metric("tokenbroker_leading") != 1 || w.metric("tokenbroker_build_info", "a", "v1.2.3") != 1 {
			t.Error("the replica does not show itself as leader")
		}
	})
}

func TestCallsAreCountedByMethodAndCode(t *testing.T) {
	s := serve(newWorld(t))
	s.commit(stable, time.Hour)
	for range 3 {
		if _, err := s.GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: stable}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.GetToken(t.Context(), &tokenbrokerv1.GetTokenRequest{Name: "other"})
	refused(t, err, codes.NotFound, "")
	watch, err := s.WatchToken(t.Context(), &tokenbrokerv1.WatchTokenRequest{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = watch.Recv()
	refused(t, err, codes.NotFound, "")
	for _, series := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{4, "grpc_server_started_total", []string{"GetToken"}},
		{4, "grpc_server_handling_seconds", []string{"GetToken"}},
		{3, "grpc_server_handled_total", []string{"GetToken", "OK"}},
		{1, "grpc_server_handled_total", []string{"GetToken", "NotFound"}},
		{0, "grpc_server_handled_total", []string{"GetToken", "Internal"}},
		{1, "grpc_server_handled_total", []string{"WatchToken", "NotFound"}},
		{1, "grpc_server_handling_seconds", []string{"WatchToken"}},
	} {
		if got := s.metric(series.name, series.labels...); got != series.want {
			t.Errorf("%s %v is %v, want %v", series.name, series.labels, got, series.want)
		}
	}
}

func TestPanicIsAnInternalErrorThatShowsNoValueAnywhere(t *testing.T) {
	w := newWorld(t)
	w.votes.hold = func() { panic("SECRET") }
	s := serve(w)
	admin := tokenbrokerv1.NewAdminServiceClient(s.conn)
	_, err := admin.GetStatus(t.Context(), &tokenbrokerv1.GetStatusRequest{})
	refused(t, err, codes.Internal, "")
	w.votes.hold = nil
	if got := s.metric("grpc_server_handled_total", "GetStatus", "Internal"); got != 1 {
		t.Errorf("counted %v", got)
	}
	log := s.log.String()
	if !strings.Contains(log, "panic with a string") || !strings.Contains(log, "fixture_test.go") || strings.Contains(log, "SECRET") {
		t.Errorf("logged %s", log)
	}
	w.votes.hold = func() { _ = []int{}[len(w.records)+1] }
	_, err = admin.GetStatus(t.Context(), &tokenbrokerv1.GetStatusRequest{})
	refused(t, err, codes.Internal, "")
	if !strings.Contains(s.log.String(), "index out of range") {
		t.Errorf("logged %s", s.log)
	}
}

func TestInternalErrorIsLoggedWithItsCauseAndAnsweredWithout(t *testing.T) {
	w := newWorld(t)
	w.votes.elect(candidate("b", 3))
	w.leader.replies(token.Reply{Verdict: "maybe"})
	s := serve(w)
	_, err := tokenbrokerv1.NewAdminServiceClient(s.conn).ResignLeadership(context.Background(), &tokenbrokerv1.ResignLeadershipRequest{})
	refused(t, err, codes.Internal, "")
	if strings.Contains(err.Error(), "maybe") || !strings.Contains(s.log.String(), "maybe") {
		t.Errorf("answered %v, logged %s", err, s.log)
	}
}
