// Package fault is the catalogue of what a run breaks, and the storm that breaks it.
//
// A Fault strikes a Scene, stands for a while, and is healed. A storm draws faults from the run's seed, one after another. Several rage
// at the same time, each on a part of the site of its own, so that any two faults come to stand together. Each fault has a source of
// choices of its own, so that one seed always means the same faults in the same order with the same details; only moments differ,
// and who happens to lead.
//
// Every fault is an event of the history for each of its effects (see package history): Reason is its name, Sent is just before it
// struck, Received just after it was healed, Replica is the broker that it concerns if it concerns one alone, and Detail says the rest
// in words.
package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
	"github.com/tokenbroker/tokenbroker/test/robustness/site"
)

// Part is what a fault breaks. Two faults that break the same part do not go together: the healing of one would heal the other.
type Part uint

// The parts of a site.
const (
	Brokers Part = 1 << iota // the brokers' processes, failpoints and clocks
	Links                    // the brokers' network to etcd
	Etcd                     // its members, and the network between them
	WeChat                   // and the brokers' network to it
)

// Fault is one way of breaking a site.
type Fault struct {
	// Name is what it is called on the command line and in the history.
	Name string
	// About says in words what it does, for the documentation.
	About string
	// Weight is how often it is drawn, compared with the others.
	Weight int
	// Breaks are the parts that it breaks, and Effects what that does, as the history has it.
	Breaks  Part
	Effects []string
	// Lasts draws how long it stands.
	Lasts func(Times, *rand.Rand) time.Duration
	// Least is the shortest run that it fits in.
	Least func(Times) time.Duration
	// Inject breaks the site. It returns ErrMoot if there is nothing to break at the moment.
	Inject func(context.Context, *Scene, *rand.Rand) (Wound, error)
}

// Wound is a fault that stands.
type Wound struct {
	// Replica is the broker that it concerns; empty if none or several.
	Replica string
	// Detail says in words what was broken.
	Detail string
	// Struck is when the process was killed or paused, in the time of the history; 0 if that was right at the beginning.
	Struck time.Duration
	// Heal undoes it, and returns soon after. It is called once. Nil if there is nothing to undo. AtOnce: what was struck goes on before
	// Heal returns, so that the fault ends when Heal begins.
	Heal   func(context.Context) error
	AtOnce bool
	// Clean does what else is to be done, after Heal: it ends calls, disarms failpoints, mends. Nil if there is nothing.
	Clean func(context.Context) error
}

// ErrMoot is returned if there was nothing to break: nobody led, or what was to be struck in the act did not act.
var ErrMoot = errors.New("there was nothing to break")

// Scene is what faults act upon.
type Scene struct {
	Site     *site.Site
	Recorder *history.Recorder
	// Tokens are the tokens of the site.
	Tokens []site.Token
	Times  Times

	mu     sync.Mutex      // guards all below
	taken  Part            // the parts that faults break now
	freed  chan struct{}   // closed when a part is not broken any more; nil if nobody waits for that
	killed map[string]bool // the values that WeChat was made to end
	owed   map[string]bool // the tokens for which a broker waits as long as WeChat told it to, and nobody has mended that
}

// Times are the durations of the site that faults are measured by.
type Times struct {
	// Protocol holds the constants of a rotating token.
	Protocol token.Timing
	// Life is a token's life, Overlap how long a rotating one outlives its successor's issue.
	Life, Overlap time.Duration
	// SessionTTL is the life of a leader's lease.
	SessionTTL time.Duration
}

// between draws a duration.
func between(shortest, longest time.Duration, rng *rand.Rand) time.Duration {
	return shortest + time.Duration(rng.Int64N(int64(max(longest-shortest, 1))))
}

// lasting returns a Fault.Lasts of fixed bounds.
func lasting(shortest, longest time.Duration) func(Times, *rand.Rand) time.Duration {
	return func(_ Times, rng *rand.Rand) time.Duration { return between(shortest, longest, rng) }
}

// pick returns one of several.
func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }
