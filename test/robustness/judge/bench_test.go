package judge_test

import (
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// BenchmarkJudge judges what happens in sixteen hours: a million events.
func BenchmarkJudge(b *testing.B) {
	c := newLongWorld(1, false, 16*time.Hour)
	for b.Loop() {
		if v := judge.Judge(c); !v.Passed() {
			b.Fatalf("a legal run is judged illegal:\n%s", v)
		}
	}
	b.ReportMetric(float64(len(c.Events)), "events")
}
