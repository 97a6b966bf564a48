package refresh

import (
	"sync"

	"github.com/tokenbroker/tokenbroker/internal/clock"
)

// Rest bounds how often one replica gives up the lead in vain, whichever token it is for: once in handOverRest. Each change of leaders
// starts the quiet wait of every rotating token anew, so that accounts which no replica can fetch for must not keep the lead moving.
// All refreshers of a replica share one Rest. The zero value is ready, and a nil Rest allows everything.
type Rest struct {
	mu   sync.Mutex
	name string        // the token for which the lead was given up last, and that nobody is known to have fetched since; empty if none
	last clock.Instant // when that was
}

// take reports whether the lead may be given up now for a token, and if so, begins the rest.
func (r *Rest) take(name string, now clock.Instant) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.name != "" && now.Sub(r.last) < handOverRest {
		return false
	}
	r.name, r.last = name, now
	return true
}

// end ends the rest for a token: another replica could fetch it, so that giving up the lead was of use, and would be again.
func (r *Rest) end(name string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.name == name {
		r.name = ""
	}
}
