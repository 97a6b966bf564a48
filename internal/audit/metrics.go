package audit

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	lines         *prometheus.CounterVec
	written, lost prometheus.Counter
	trouble       *prometheus.Desc
	// failing: the last write or opening failed.
	failing *atomic.Bool
}

func newMetrics() metrics {
	m := metrics{
		lines: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_audit_lines_total",
			Help: "Lines for the audit log, by what became of them: written, or lost because it cannot be written.",
		}, []string{"result"}),
		trouble: prometheus.NewDesc("tokenbroker_audit_failing",
			"1 while the audit log cannot be written, or its disk does not answer. With when_full: refuse callers are refused meanwhile.", nil, nil),
		failing: new(atomic.Bool),
	}
	m.written, m.lost = m.lines.WithLabelValues("written"), m.lines.WithLabelValues("lost")
	return m
}

// Describe implements prometheus.Collector.
func (l *Log) Describe(out chan<- *prometheus.Desc) {
	l.metrics.lines.Describe(out)
	out <- l.metrics.trouble
}

// Collect implements prometheus.Collector.
func (l *Log) Collect(out chan<- prometheus.Metric) {
	l.metrics.lines.Collect(out)
	var failing float64
	if l.metrics.failing.Load() || l.stalled.Load() {
		failing = 1
	}
	out <- prometheus.MustNewConstMetric(l.metrics.trouble, prometheus.GaugeValue, failing)
}
