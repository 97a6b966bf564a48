package server

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenbroker/tokenbroker/internal/view"
)

// gauges are computed when they are scraped, from the same memory that answers callers.
type gauges struct {
	replica []replicaGauge
	token   []tokenGauge
	deaths  *prometheus.Desc
	state   *prometheus.Desc
	failure *prometheus.Desc
	build   *prometheus.Desc
}

type replicaGauge struct {
	desc  *prometheus.Desc
	value func(*Server, Election) float64
}

type tokenGauge struct {
	desc  *prometheus.Desc
	value func(tokenSample) float64
}

// tokenSample is what is known of one token at one moment.
type tokenSample struct {
	view.Reading
	plan     Plan
	rotating bool
	fetches  int64
}

func newGauges() gauges {
	replica := func(name, help string, value func(*Server, Election) float64) replicaGauge {
		return replicaGauge{desc: prometheus.NewDesc("tokenbroker_"+name, help, nil, nil), value: value}
	}
	ofToken := func(name, help string, value func(tokenSample) float64) tokenGauge {
		return tokenGauge{desc: prometheus.NewDesc("tokenbroker_token_"+name, help, []string{"token"}, nil), value: value}
	}
	return gauges{
		replica: []replicaGauge{
			replica("view_age_seconds", "Time since this replica last proved that its view is current. Above 10: it is cut off from etcd. "+
				"+Inf: never since the start, or the clock jumped.", func(s *Server, _ Election) float64 { return s.viewAge() }),
			replica("in_sync", "1 if this replica proved within the last ten seconds that its view is current. 0: it is cut off from etcd, serves from "+
				"memory, and cannot know who leads.", func(s *Server, _ Election) float64 { return number(s.view.InSync()) }),
			replica("leading", "1 if this replica leads. The sum over all replicas should be 1; 0 for more than some seconds: nobody fetches.",
				func(s *Server, e Election) float64 { return number(s.leads(e)) }),
			replica("leader_term", "The term of the leader that this replica knows, 0 if there is none or it is cut off from etcd. Another "+
				"positive value is a failover.",
				func(_ *Server, e Election) float64 { return leaderTerm(e) }),
			replica("election_candidates", "Replicas that stand for election, the leader included, as last known. Fewer than you run: the others "+
				"cannot take over.",
				func(_ *Server, e Election) float64 { return float64(len(e.Candidates)) }),
		},
		token: []tokenGauge{
			ofToken("ttl_seconds", "Life that this replica guarantees to callers from now on. 0: it guarantees nothing.",
				func(t tokenSample) float64 { return t.TTL.Seconds() }),
			ofToken("nominal_seconds", "Time until the end that the upstream stated. Not positive: expired, or never fetched.",
				func(t tokenSample) float64 { return t.Nominal.Seconds() }),
			ofToken("until_callers_fail_seconds", "Time until callers of this replica begin to fail if nothing improves: no fetch succeeds, and "+
				"a replica that is cut off stays so. The time that is left to act.",
				func(t tokenSample) float64 { return untilCallersFail(t) }),
			ofToken("version", "The current version. An increase is a refresh; it must never decrease.",
				func(t tokenSample) float64 { return float64(t.Record.Version) }),
			ofToken("pending", "1 while a fetch was begun and its outcome is not known.",
				func(t tokenSample) float64 { return number(t.Record.Pending != nil) }),
			ofToken("doubt", "1 while the token may have been rotated away by a fetch whose answer was lost.",
				func(t tokenSample) float64 { return number(t.Record.Doubt) }),
			ofToken("condemned", "1 if the upstream refused the current token before its end. Someone else fetches with the same credentials?",
				func(t tokenSample) float64 { return number(t.Record.Condemned) }),
			ofToken("local", "1 if this replica serves a value that it fetched alone, while it was cut off from etcd and its token neared its end.",
				func(t tokenSample) float64 { return number(t.Local) }),
			ofToken("consecutive_failures", "Failed fetches since the last success. The status command tells the code and the remedy.",
				func(t tokenSample) float64 { return float64(t.Record.Failures) }),
			ofToken("fetches_today", "Fetches that count against today's budget, by the upstream's calendar.",
				func(t tokenSample) float64 { return float64(t.fetches) }),
			ofToken("daily_budget", "Fetches that are allowed in a day, the reserve for emergencies included.",
				func(t tokenSample) float64 { return float64(t.plan.DailyBudget) }),
			ofToken("last_refresh_timestamp_seconds", "When the current value was fetched, as Unix time. 0: never.",
				func(t tokenSample) float64 { return unix(t.Record.IssuedAt) }),
			ofToken("next_refresh_timestamp_seconds", "When the leader means to fetch next, as Unix time. 0: not known.",
				func(t tokenSample) float64 { return unix(t.plan.Next) }),
		},
		deaths: prometheus.NewDesc("tokenbroker_token_early_deaths_total",
			"Tokens that were found dead before their time, and that no fetch of the brokers ended. Each one: another system refreshes this app's token.",
			[]string{"token"}, nil),
		state: prometheus.NewDesc("tokenbroker_token_state",
			"1 for the state that callers see: active; suspect: usable, nothing promised; expired: callers get UNAVAILABLE.",
			[]string{"token", "state"}, nil),
		failure: prometheus.NewDesc("tokenbroker_token_last_failure_timestamp_seconds",
			"When a fetch failed last, as Unix time, with the upstream's code and its class. Kept after a success.",
			[]string{"token", "code", "class"}, nil),
		build: prometheus.NewDesc("tokenbroker_build_info", "Always 1; the labels tell which replica and version this is.",
			[]string{"replica", "version"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (s *Server) Describe(out chan<- *prometheus.Desc) {
	for _, c := range s.rpcs.collectors() {
		c.Describe(out)
	}
	for _, g := range s.gauges.replica {
		out <- g.desc
	}
	for _, g := range s.gauges.token {
		out <- g.desc
	}
	out <- s.gauges.deaths
	out <- s.gauges.state
	out <- s.gauges.failure
	out <- s.gauges.build
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(out chan<- prometheus.Metric) {
	for _, c := range s.rpcs.collectors() {
		c.Collect(out)
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	election := s.election()
	for _, g := range s.gauges.replica {
		gauge(g.desc, g.value(s, election))
	}
	gauge(s.gauges.build, 1, s.cfg.ReplicaID, s.cfg.Version)
	for _, name := range s.view.Names() {
		t := s.view.Token(name)
		if t == nil {
			continue
		}
		sample := s.sample(t)
		for _, g := range s.gauges.token {
			gauge(g.desc, g.value(sample), name)
		}
		// From the record, so that all replicas agree, and nothing is forgotten when the leader changes.
		out <- prometheus.MustNewConstMetric(s.gauges.deaths, prometheus.CounterValue, float64(sample.Record.EarlyDeaths.Count), name)
		for _, state := range []view.State{view.Active, view.Suspect, view.Expired} {
			gauge(s.gauges.state, number(sample.State == state), name, state.String())
		}
		if f := sample.Record.LastFailure; f.Class != "" {
			gauge(s.gauges.failure, unix(f.At), name, f.Code, string(f.Class))
		}
	}
}

func (s *Server) sample(t *view.Token) tokenSample {
	plan := s.planner.Plan(t.Name(), nil) // a metric tells the schedule alone
	r := t.Read()
	fetches := r.Record.Spent.On(s.cfg.Wall(), t.Traits().Calendar).Fetches
	return tokenSample{Reading: r, plan: plan, rotating: t.Traits().Rotating, fetches: fetches}
}

// untilCallersFail is the nominal end where nothing can end the token before it, and otherwise the end of the promise: after that the
// upstream may refuse what callers hold.
func untilCallersFail(t tokenSample) float64 {
	switch {
	case t.State == view.Expired:
		return 0
	case !t.Record.Clean(), t.rotating && !t.InSync:
		return t.TTL.Seconds()
	default:
		return t.Nominal.Seconds()
	}
}

// viewAge is infinite where there is no proof, so that an alert on a large age fires then, too.
func (s *Server) viewAge() float64 {
	if age, ok := s.view.Age(); ok {
		return age.Seconds()
	}
	return math.Inf(1)
}

func leaderTerm(e Election) float64 {
	if e.Leader == nil {
		return 0
	}
	return float64(e.Leader.Term)
}

// unix returns 0 for the zero time, which lies far before 1970.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
