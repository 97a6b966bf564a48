package refresh

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Metrics counts fetches on the replica that makes them.
type Metrics struct {
	fetches  *prometheus.CounterVec
	alone    *prometheus.CounterVec
	probes   *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewMetrics returns Metrics that are registered with reg.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_fetches_total",
			Help: "Fetches made by this replica while it led. outcome: token (success), none (refused, nothing issued), unknown (no usable answer: a token may have been issued). class: what kind of failure, empty on success.",
		}, []string{"token", "outcome", "class"}),
		alone: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_lone_fetches_total",
			Help: "Fetches made by this replica for itself while it was cut off from etcd. class: what kind of failure, empty on success.",
		}, []string{"token", "class"}),
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_probes_total",
			Help: "How often this replica, while it led, asked the upstream whether the current token lives: by schedule, and after reports. answer: alive, dead, or none (it could not be learned).",
		}, []string{"token", "answer"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokenbroker_fetch_duration_seconds",
			Help:    "From announcing a fetch in the store to the upstream's answer.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"token"}),
	}
	for _, c := range []prometheus.Collector{m.fetches, m.alone, m.probes, m.duration} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// failures lists what comes of attempts that fail, for counters that begin at 0: the first increase of a series that was not there
// before is invisible to rate().
var failures = map[token.Outcome][]token.Class{
	token.OutcomeNone: {
		token.Transient, token.Unreachable, token.Address, token.MinuteQuota, token.DailyQuota, token.Blocked, token.Human, token.Bug,
	},
	token.OutcomeUnknown: {token.Transient, token.MinuteQuota, token.Human, token.Bug},
}

// noAnswer is the label of a probe that learned nothing.
const noAnswer = "none"

// expect makes the counters of a token begin at 0. m may be nil.
func (m *Metrics) expect(name string) {
	if m == nil {
		return
	}
	m.fetches.WithLabelValues(name, string(token.OutcomeToken), "")
	m.alone.WithLabelValues(name, "")
	for outcome, classes := range failures {
		for _, class := range classes {
			m.fetches.WithLabelValues(name, string(outcome), string(class))
		}
	}
	for _, answer := range []string{string(token.Alive), string(token.Dead), noAnswer} {
		m.probes.WithLabelValues(name, answer)
	}
	m.duration.WithLabelValues(name)
}

// probed counts one question whether a token lives. m may be nil.
func (m *Metrics) probed(name string, health token.Health, err error) {
	if m == nil || errors.Is(err, token.ErrNoProbe) {
		return
	}
	answer := string(health)
	if err != nil {
		answer = noAnswer
	}
	m.probes.WithLabelValues(name, answer).Inc()
}

// note logs and counts what came of an attempt.
func (g *termRun) note(intent token.Intent, why string, f fetched) {
	outcome, class := token.OutcomeToken, token.Class("")
	attrs := []slog.Attr{slog.String("attempt", intent.Attempt), slog.String("due_because", why), slog.Duration("took", f.took)}
	if f.failure == nil {
		g.log.LogAttrs(context.Background(), slog.LevelInfo, "fetched", append(attrs, slog.Duration("life", f.grant.Life))...)
	} else {
		outcome, class = f.failure.Outcome, f.failure.Class
		g.log.LogAttrs(context.Background(), slog.LevelWarn, "fetching failed", append(attrs, describe(f.failure)...)...)
	}
	if g.cfg.Metrics != nil {
		g.cfg.Metrics.fetches.WithLabelValues(g.cfg.Name, string(outcome), string(class)).Inc()
		g.cfg.Metrics.duration.WithLabelValues(g.cfg.Name).Observe(f.took.Seconds())
	}
}

// describe is what a log says of a failure.
func describe(f *token.Failure) []slog.Attr {
	return []slog.Attr{
		slog.String("outcome", string(f.Outcome)), slog.String("class", string(f.Class)), slog.String("code", f.Code),
		slog.String("meaning", f.Meaning), slog.String("message", f.Message), slog.String("remedy", f.Remedy),
	}
}

// note logs and counts what came of a fetch alone.
func (a *alone) note(version int64, life, took time.Duration, failure *token.Failure) {
	class := token.Class("")
	if failure == nil {
		a.log.Info("serving what this replica fetched alone", "version", version, "life", life, "took", took)
	} else {
		class = failure.Class
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "fetching alone failed", append(describe(failure), slog.Duration("took", took))...)
	}
	if a.cfg.Metrics != nil {
		a.cfg.Metrics.alone.WithLabelValues(a.cfg.Name, string(class)).Inc()
	}
}
