package snapshot

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	lastWrite prometheus.Gauge
	failures  prometheus.Counter
	refused   *prometheus.GaugeVec
}

func newMetrics() metrics {
	return metrics{
		lastWrite: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokenbroker_snapshot_last_write_timestamp_seconds",
			Help: "When the snapshot was written last, as Unix time. It is written when something changes. 0: not since the start.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokenbroker_snapshot_write_failures_total",
			Help: "Failed tries to write the snapshot. While they go on, a restart finds an old one.",
		}),
		refused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tokenbroker_snapshot_refused",
			Help: "1 if the snapshot that was there at the start was refused, by reason, and no new one has been written since.",
		}, []string{"reason"}),
	}
}

func (m metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.lastWrite, m.failures, m.refused}
}

// Describe implements prometheus.Collector.
func (k *Keeper) Describe(out chan<- *prometheus.Desc) {
	for _, c := range k.metrics.all() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (k *Keeper) Collect(out chan<- prometheus.Metric) {
	for _, c := range k.metrics.all() {
		c.Collect(out)
	}
}
