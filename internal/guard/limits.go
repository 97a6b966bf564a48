package guard

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/crowd"
)

// Limits are what one identity may take. All are positive.
type Limits struct {
	// Rate is how many calls a second, and Burst how many at once after a rest.
	Rate, Burst int
	// Streams are the streams, and Calls the other calls, that may be open at once.
	Streams, Calls int
}

const (
	// maxIdentities is how many identities have a bucket of their own.
	maxIdentities = 16384
	// stripes are the buckets that addresses share.
	stripes = 8192
	// glances is how many buckets are looked at to find those that can be forgotten.
	glances = 32
	// failuresRate and failuresBurst are how many failures of an address are borne: enough for a service whose token has expired and who has
	// not noticed, and nothing for a guesser.
	failuresRate, failuresBurst = 5, 50
)

// bucket is what one identity, or the anonymous callers of one address, have left.
type bucket struct {
	calls *rate.Limiter
	// open are the streams, and the other calls, that are open: by isStream.
	open [2]int
}

// buckets are those of all callers.
type buckets struct {
	seed maphash.Seed

	mu         sync.Mutex // held for what follows, and for what buckets hold
	limits     Limits
	identities map[access.Identity]*bucket
	shared     [stripes]*bucket
	failures   [stripes]*rate.Limiter
}

func newBuckets(l Limits) *buckets {
	return &buckets{seed: maphash.MakeSeed(), limits: l, identities: map[access.Identity]*bucket{}}
}

// limit changes the limits of all. Nobody's bucket is filled by that.
func (b *buckets) limit(l Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l == b.limits {
		return
	}
	b.limits = l
	now := time.Now()
	adjust := func(one *bucket) {
		one.calls.SetLimitAt(now, rate.Limit(l.Rate))
		one.calls.SetBurstAt(now, l.Burst)
	}
	for _, one := range b.identities {
		adjust(one)
	}
	for _, one := range b.shared {
		if one != nil {
			adjust(one)
		}
	}
}

func (b *buckets) fresh() *bucket {
	return &bucket{calls: rate.NewLimiter(rate.Limit(b.limits.Rate), b.limits.Burst)}
}

// address is the place of a peer's address among the shared buckets.
func (b *buckets) address(peer string) uint64 {
	from := crowd.Neighborhood(peer)
	if !from.IsValid() {
		return maphash.String(b.seed, peer) % stripes // a unix socket
	}
	return maphash.Comparable(b.seed, from) % stripes
}

// enter takes one call, or stream, from each of the caller's buckets. If one of them has none left it returns the limit, and how long to
// wait; the rate is taken from all the same.
//
// Here and below time is read under the lock, so that it never goes back: a Limiter that is told of an earlier time counts what has passed since
// then twice, and it may have taken seconds to learn who calls.
func (b *buckets) enter(v *visit, address uint64) (reason, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	v.held = v.few[:0]
	for _, id := range v.caller.Identities {
		one := b.of(id, address, now)
		if limit, wait := b.take(one, v, now); wait > 0 {
			b.putBack(v)
			return limit, wait
		}
		v.held = append(v.held, one)
	}
	return "", 0
}

// of returns the bucket of an identity, or of an address for who has none.
func (b *buckets) of(id access.Identity, address uint64, now time.Time) *bucket {
	if id == access.Anonymous {
		return b.sharedAt(address)
	}
	if one := b.identities[id]; one != nil {
		return one
	}
	if len(b.identities) >= maxIdentities && !b.forget(now) {
		return b.sharedAt(maphash.String(b.seed, string(id)) % stripes)
	}
	one := b.fresh()
	b.identities[id] = one
	return one
}

func (b *buckets) sharedAt(stripe uint64) *bucket {
	if b.shared[stripe] == nil {
		b.shared[stripe] = b.fresh()
	}
	return b.shared[stripe]
}

// forget makes room by forgetting buckets that are as good as new, if it comes upon some.
func (b *buckets) forget(now time.Time) bool {
	looked, found := 0, false
	for id, one := range b.identities {
		if one.open == [2]int{} && one.calls.TokensAt(now) >= float64(b.limits.Burst) {
			delete(b.identities, id)
			found = true
		}
		if looked++; looked == glances {
			break
		}
	}
	return found
}

// take takes from one bucket, or says which limit stands against it, and for how long at least.
func (b *buckets) take(one *bucket, v *visit, now time.Time) (reason, time.Duration) {
	most, limit := b.limits.Calls, tooManyCalls
	if v.method.Stream {
		most, limit = b.limits.Streams, tooManyStreams
	}
	open := &one.open[kindOfCall(v)]
	if *open >= most {
		return limit, time.Second
	}
	if !one.calls.AllowN(now, 1) {
		return tooOften, untilOne(one.calls, now)
	}
	*open++
	return "", 0
}

// untilOne is when a limiter has something to give again.
func untilOne(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	return max(time.Duration(missing/float64(l.Limit())*float64(time.Second)), time.Millisecond)
}

// leave closes what was open.
func (b *buckets) leave(v *visit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.putBack(v)
}

func (b *buckets) putBack(v *visit) {
	for _, one := range v.held {
		one.open[kindOfCall(v)]--
	}
	v.held = nil
}

func kindOfCall(v *visit) int {
	if v.method.Stream {
		return 1
	}
	return 0
}

// suspect counts a failure of an address.
func (b *buckets) suspect(address uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures[address] == nil {
		b.failures[address] = rate.NewLimiter(failuresRate, failuresBurst)
	}
	b.failures[address].Allow()
}

// suspicion is how long an address is not to be listened to; 0 if it is.
func (b *buckets) suspicion(address uint64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, now := b.failures[address], time.Now()
	if l == nil || l.TokensAt(now) >= 1 {
		return 0
	}
	return untilOne(l, now)
}

// spread adds up to a second, so that callers who were sent away together do not come back together.
func spread(d time.Duration) time.Duration { return d + rand.N(time.Second) }
