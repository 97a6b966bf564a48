package store

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// unusable is which records the feed has found that this replica cannot use. The zero value is ready.
type unusable struct {
	mu  sync.Mutex
	why map[string]string // by token
}

// load replaces all. A reason that is empty is none.
func (u *unusable) load(why map[string]string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.why = nil
	u.take(why)
}

// apply takes in changes.
func (u *unusable) apply(why map[string]string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.take(why)
}

// take notes reasons. The caller holds mu.
func (u *unusable) take(why map[string]string) {
	for name, reason := range why {
		if reason == "" {
			delete(u.why, name)
			continue
		}
		if u.why == nil {
			u.why = map[string]string{}
		}
		u.why[name] = reason
	}
}

var unusableDesc = prometheus.NewDesc("tokenbroker_store_unusable_records",
	"Token records in etcd that this replica cannot use, by reason. It goes on with what it holds, and while it leads fetches nothing for them.",
	[]string{"reason"}, nil)

// Describe implements prometheus.Collector.
func (s *Store) Describe(out chan<- *prometheus.Desc) { out <- unusableDesc }

// Collect implements prometheus.Collector. There is no series for a reason that no record has.
func (s *Store) Collect(out chan<- prometheus.Metric) {
	count := map[string]int{}
	s.unusable.mu.Lock()
	for _, reason := range s.unusable.why {
		count[reason]++
	}
	s.unusable.mu.Unlock()
	for reason, n := range count {
		out <- prometheus.MustNewConstMetric(unusableDesc, prometheus.GaugeValue, float64(n), reason)
	}
}
