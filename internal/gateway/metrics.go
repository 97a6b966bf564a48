package gateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// unknownPath stands for every path that is none of ours, so that callers cannot make series.
const unknownPath = "other"

// metrics count what was answered. How long the calls behind took is told by the gRPC server's metrics.
type metrics struct {
	requests *prometheus.CounterVec
	wechat   *prometheus.CounterVec
	watches  prometheus.Gauge
}

func newMetrics() metrics {
	return metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_gateway_requests_total",
			Help: "HTTP requests that were answered, by path and HTTP status. The WeChat-compatible paths answer 200 to everything, as WeChat does.",
		}, []string{"path", "code"}),
		wechat: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_gateway_wechat_answers_total",
			Help: "Answers of the WeChat-compatible paths, by errcode; 0 is a token.",
		}, []string{"path", "errcode"}),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokenbroker_gateway_watches",
			Help: "Streams of server-sent events that are open.",
		}),
	}
}

// done books an answer that is complete.
func (m metrics) done(a *answer) {
	code := a.code
	if code == 0 {
		code = 200 // what net/http sends for a handler that sent nothing
	}
	m.requests.WithLabelValues(a.path, strconv.Itoa(code)).Inc()
}

// Describe implements prometheus.Collector.
func (g *Gateway) Describe(descs chan<- *prometheus.Desc) {
	g.metrics.requests.Describe(descs)
	g.metrics.wechat.Describe(descs)
	g.metrics.watches.Describe(descs)
}

// Collect implements prometheus.Collector.
func (g *Gateway) Collect(metrics chan<- prometheus.Metric) {
	g.metrics.requests.Collect(metrics)
	g.metrics.wechat.Collect(metrics)
	g.metrics.watches.Collect(metrics)
}
