package guard

import (
	"sync"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// manyProven is how many bearer tokens one generation has.
const manyProven = 4096

// proven are the bearer tokens that were found good lately: two generations of them, of which the older is forgotten when the younger is
// full. They prove nothing; they are only looked at where others are not.
type proven struct {
	mu         sync.RWMutex
	young, old map[token.Secret]struct{}
}

func (p *proven) has(bearer token.Secret) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, young := p.young[bearer]
	_, old := p.old[bearer]
	return young || old
}

func (p *proven) add(bearer token.Secret) {
	p.mu.RLock()
	_, known := p.young[bearer]
	p.mu.RUnlock()
	if known {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.young == nil || len(p.young) >= manyProven {
		p.young, p.old = map[token.Secret]struct{}{}, p.young
	}
	p.young[bearer] = struct{}{}
}

// remove forgets what is good no longer.
func (p *proven) remove(bearer token.Secret) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.young, bearer)
	delete(p.old, bearer)
}
