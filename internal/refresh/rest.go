package refresh

import (
	"sync"

	"github.com/tokenbroker/tokenbroker/internal/clock"
)

// Rest bounds how often one replica gives up the lead, whichever token it is for: once in handOverRest. Each change of leaders
// starts the quiet wait of every rotating token anew, so that accounts which no replica can fetch for must not keep the lead moving.
// All refreshers of a replica share one Rest. The zero value is ready, and a nil Rest allows everything.
type Rest struct {
	mu   sync.Mutex
	used bool
	last clock.Instant
}

// take reports whether the lead may be given up now, and if so, begins the rest.
func (r *Rest) take(now clock.Instant) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used && now.Sub(r.last) < handOverRest {
		return false
	}
	r.used, r.last = true, now
	return true
}
