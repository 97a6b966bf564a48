package transport

import "github.com/prometheus/client_golang/prometheus"

func (c *Certificates) makeMetrics() {
	c.expiry = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tokenbroker_tls_certificate_expiry_timestamp_seconds",
		Help: "When the server's certificate, or one that it hangs on, expires, in seconds since 1970.",
	}, func() float64 { return float64(c.present.Load().expires.Unix()) })
	c.failedReloads = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tokenbroker_tls_reload_failures_total",
		Help: "Times that the TLS files were looked at and could not be used. It grows for as long as they are broken; the last good ones stay in use.",
	})
	c.failedHandshakes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tokenbroker_tls_handshake_failures_total",
		Help: "Connections that ended in the TLS handshake: wrong or missing certificates, too slow, or not TLS at all.",
	})
}

// Describe implements prometheus.Collector.
func (c *Certificates) Describe(descs chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, descs)
}

// Collect implements prometheus.Collector.
func (c *Certificates) Collect(metrics chan<- prometheus.Metric) {
	c.expiry.Collect(metrics)
	c.failedReloads.Collect(metrics)
	c.failedHandshakes.Collect(metrics)
}
