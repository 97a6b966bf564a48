package main

import (
	"slices"
	"time"

	"github.com/tokenbroker/tokenbroker/test/robustness/judge"
)

// lasting is for how long a broken promise must be found again and again before it counts: longer than any call of the suite lasts.
// While a run goes on, the judge does not know of calls whose answers have not come, nor of what etcd has not told yet.
const lasting = 12 * time.Second

// trail is what a hunt has found so far. It is for one goroutine.
type trail struct {
	since map[string]time.Duration // when each broken promise that was in the last judgement was found first
	hot   bool                     // one of them has lasted
	// checks are those that are heeded; none for all.
	checks []string
}

func newTrail(checks []string) *trail {
	return &trail{since: make(map[string]time.Duration), checks: checks}
}

// follow takes in the judgement of what was known at a moment.
func (t *trail) follow(now time.Duration, v judge.Verdict) {
	still := make(map[string]time.Duration)
	for _, k := range v.Checks {
		if len(t.checks) > 0 && !slices.Contains(t.checks, k.Name) {
			continue
		}
		for _, f := range k.Violations {
			id := k.Name + " " + f.What
			first, known := t.since[id]
			if !known {
				first = now
			}
			still[id] = first
			t.hot = t.hot || now-first >= lasting
		}
	}
	t.since = still
}
