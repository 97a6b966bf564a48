package guard

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// reason is why a call was refused, as metrics have it.
type reason string

const (
	unauthenticated reason = "unauthenticated"
	denied          reason = "denied"
	tooOften        reason = "rate"
	tooManyStreams  reason = "streams"
	tooManyCalls    reason = "calls"
	tooManyFailures reason = "failures"
	unrecorded      reason = "unrecorded"
)

// text says which limit stands against a call.
func (r reason) text() string {
	switch r {
	case tooManyStreams:
		return "this identity has as many streams open at this replica as one may have (limits.streams)"
	case tooManyCalls:
		return "this identity has as many calls under way at this replica as one may have (limits.calls)"
	default:
		return "this identity calls this replica more often than one may (limits.rate)"
	}
}

// kindless stands for callers who are nobody.
const kindless = "none"

// kindOf is what proved the caller's first identity. There are few kinds, whatever callers do.
func kindOf(c access.Caller) string {
	if len(c.Identities) == 0 {
		return kindless
	}
	kind, _, _ := strings.Cut(string(c.Identities[0]), ":")
	if slices.Contains([]string{"spiffe", "dns", "cn", "jwt", "token", "client", string(access.Anonymous)}, kind) {
		return kind
	}
	return "other"
}

type metrics struct{ refused *prometheus.CounterVec }

func newMetrics() metrics {
	return metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tokenbroker_guard_refused_total",
		Help: "Calls that were refused for who made them, by reason and by what proved the caller's identity. unauthenticated: not believed; " +
			"denied: not in the policy; rate, streams, calls: limits; failures: an address with too many refusals; unrecorded: the audit log.",
	}, []string{"reason", "kind"})}
}

func (m metrics) refuse(why reason, kind string) { m.refused.WithLabelValues(string(why), kind).Inc() }

// Describe implements prometheus.Collector.
func (g *Guard) Describe(out chan<- *prometheus.Desc) { g.metrics.refused.Describe(out) }

// Collect implements prometheus.Collector.
func (g *Guard) Collect(out chan<- prometheus.Metric) { g.metrics.refused.Collect(out) }
