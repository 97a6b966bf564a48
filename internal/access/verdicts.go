package access

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxVerdicts bounds how many tokens are remembered in each of the two halves.
const maxVerdicts = 4096

// verdicts remembers whose tokens are, by their hashes, so that a signature is checked once and not for each call. It holds no token. Those
// that were asked for longest ago are forgotten first, by halves. It is safe for concurrent use.
type verdicts struct {
	mu         sync.RWMutex // held for moments
	young, old map[[sha256.Size]byte]verdict
}

// verdict is good until the caller expires, and for as long as its issuer has the same keys: one that was taken away takes with it what it
// has signed.
type verdict struct {
	caller Caller
	ring   *keyring
	keys   *keySet
}

func newVerdicts() *verdicts { return &verdicts{young: map[[sha256.Size]byte]verdict{}} }

// get returns whose the token is, if that is known and still so.
func (v *verdicts) get(sum [sha256.Size]byte) (Caller, bool) {
	v.mu.RLock()
	found, young := v.young[sum]
	if !young {
		found = v.old[sum]
	}
	v.mu.RUnlock()
	if found.ring == nil || found.ring.set.Load() != found.keys || !time.Now().Before(found.caller.Expires) {
		return Caller{}, false
	}
	if !young {
		v.put(sum, found)
	}
	return found.caller, true
}

func (v *verdicts) put(sum [sha256.Size]byte, found verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.young) >= maxVerdicts {
		v.old, v.young = v.young, map[[sha256.Size]byte]verdict{}
	}
	v.young[sum] = found
}
