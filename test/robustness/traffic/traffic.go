// Package traffic is everybody who uses the brokers during a run, and those who only look on. All that they see goes into the history.
//
// On every replica callers ask for tokens, watchers hold a stream open for each token, and users take a token to WeChat's business
// endpoint and report it when it is refused there. One operator lists, asks for the status, refreshes and resigns. An Observer looks
// at etcd itself, past all that the run breaks.
//
// What somebody does is drawn from a source of his own, seeded with the run's seed and his name. So the choices of one do not hang on
// how quickly another was answered.
package traffic

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Replica is a broker that can be asked.
type Replica struct {
	// ID is the replica's name in the history.
	ID string
	// Conn leads to it and to no other.
	Conn grpc.ClientConnInterface
}

// Token is a token that is asked for.
type Token struct {
	Name string
	// Promise is the longest life that a replica promises for it.
	Promise time.Duration
	// Check uses a value at WeChat's business endpoint: nil, or what WeChat refused it with.
	Check func(value string) error
	// Forcible: operators may have it killed (refresh --force).
	Forcible bool
}

// Config says who takes part.
type Config struct {
	Recorder *history.Recorder
	Replicas []Replica
	Tokens   []Token
	Seed     uint64
	// Callers is the number of callers on each replica, and Pace what one of them waits between two calls, on average.
	Callers int
	Pace    time.Duration
	// Errands is what the operator waits between two commands, on average; 0 for no operator.
	Errands time.Duration
}

// Traffic is all callers, users and watchers, and the operator.
type Traffic struct{ cfg Config }

// New returns a Traffic; nobody calls yet.
func New(cfg Config) *Traffic { return &Traffic{cfg} }

// Run has everybody do his part until ctx ends. It returns nil when all of them are gone; a call that is under way when ctx ends is
// waited for, since its answer counts like any other.
func (t *Traffic) Run(ctx context.Context) error {
	var everybody errgroup.Group
	for _, r := range t.cfg.Replicas {
		for i := range t.cfg.Callers {
			everybody.Go(func() error { return newCaller(t.actor(fmt.Sprintf("caller-%s-%d", r.ID, i+1)), r).run(ctx) })
		}
		for _, tok := range t.cfg.Tokens {
			everybody.Go(func() error { return newUser(t.actor("user-"+r.ID+"-"+tok.Name), r, tok).run(ctx) })
			everybody.Go(func() error { return newWatcher(t.actor("watcher-"+r.ID+"-"+tok.Name), r, tok).run(ctx) })
		}
	}
	if t.cfg.Errands > 0 {
		everybody.Go(func() error { return newOperator(t.actor("operator")).run(ctx) })
	}
	return everybody.Wait()
}

// actor is what everybody has: a name, choices of his own, and the history. One goroutine owns it.
type actor struct {
	Config
	name string
	rng  *rand.Rand
}

func (t *Traffic) actor(name string) actor {
	return actor{Config: t.cfg, name: name, rng: Choices(t.cfg.Seed, name)}
}

// Choices returns the source of one actor's choices in the run of a seed.
func Choices(seed uint64, name string) *rand.Rand {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, hash.Sum64()))
}

// rest waits half to one and a half times as long as given, and reports whether the run goes on.
func (a *actor) rest(ctx context.Context, about time.Duration) bool {
	return Pause(ctx, about/2+time.Duration(a.rng.Float64()*float64(about)))
}

// Pause waits, and reports whether the run goes on: whether ctx still lives.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// limited returns a context for one call: it ends after a while, and not with the run.
func limited(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}
