package refresh

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Metrics counts fetches on the replica that makes them.
type Metrics struct {
	fetches  *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewMetrics returns Metrics that are registered with reg.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_fetches_total",
			Help: "Fetches made by this replica while it led. outcome: token (success), none (refused, nothing issued), unknown (no usable answer: a token may have been issued). class: what kind of failure, empty on success.",
		}, []string{"token", "outcome", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokenbroker_fetch_duration_seconds",
			Help:    "From announcing a fetch in the store to the upstream's answer.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"token"}),
	}
	for _, c := range []prometheus.Collector{m.fetches, m.duration} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// note logs and counts what came of an attempt.
func (g *termRun) note(intent token.Intent, why string, f fetched) {
	outcome, class := token.OutcomeToken, token.Class("")
	attrs := []slog.Attr{slog.String("attempt", intent.Attempt), slog.String("due_because", why), slog.Duration("took", f.took)}
	if f.failure == nil {
		g.log.LogAttrs(context.Background(), slog.LevelInfo, "fetched", append(attrs, slog.Duration("life", f.grant.Life))...)
	} else {
		outcome, class = f.failure.Outcome, f.failure.Class
		attrs = append(attrs, slog.String("outcome", string(outcome)), slog.String("class", string(class)),
			slog.String("code", f.failure.Code), slog.String("meaning", f.failure.Meaning),
			slog.String("message", f.failure.Message), slog.String("remedy", f.failure.Remedy))
		g.log.LogAttrs(context.Background(), slog.LevelWarn, "fetching failed", attrs...)
	}
	if g.cfg.Metrics != nil {
		g.cfg.Metrics.fetches.WithLabelValues(g.cfg.Name, string(outcome), string(class)).Inc()
		g.cfg.Metrics.duration.WithLabelValues(g.cfg.Name).Observe(f.took.Seconds())
	}
}
