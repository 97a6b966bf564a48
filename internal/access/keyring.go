package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-jose/go-jose/v4"
)

// ErrIssuerAway is wrapped by a refusal, besides ErrUnauthenticated, if the token may be good but the keys to tell are not at hand.
// The same call may succeed later.
var ErrIssuerAway = errors.New("the issuer's keys are not at hand")

const (
	// loadTime bounds one attempt to get keys.
	loadTime = 10 * time.Second
	// patience is how long a call waits for keys that it needs.
	patience = 3 * time.Second
	// rest is the time between two loads, however many calls want one: whoever makes up names of keys causes one in this time.
	rest = 5 * time.Second
	// maxPause is the longest pause after failures; the first is rest at least.
	maxPause = time.Minute
)

// keyring holds the keys of one issuer, and gets them anew: regularly, and when a token names a key that is not among them. While they
// cannot be got, those that are known stay in use.
type keyring struct {
	owner
	log    *slog.Logger
	set    atomic.Pointer[keySet] // empty until the first load
	wanted chan struct{}          // has one element when a load is wanted early

	mu      sync.Mutex // held for moments
	failing bool       // the last load failed
	idle    time.Time  // until when another load is not begun
	loaded  chan struct{}
}

// owner is whose keys they are, and where they come from. While nothing of this changes, a keyring stays the same.
type owner struct {
	name, iss string
	source    KeySource
}

func newKeyring(o owner, log *slog.Logger) *keyring {
	k := &keyring{owner: o, log: log.With("issuer", o.name), wanted: make(chan struct{}, 1), loaded: make(chan struct{})}
	k.set.Store(&keySet{})
	return k
}

// verify returns what was signed, and the keys that say so. It waits for patience at most.
func (k *keyring) verify(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, *keySet, error) {
	set, failing := k.set.Load(), false
	payload, named := set.verify(jws)
	if payload == nil && !named {
		failing = k.await(ctx)
		set = k.set.Load()
		payload, named = set.verify(jws)
	}
	switch {
	case payload != nil:
		return payload, set, nil
	case named:
		return nil, nil, refuse("the signature of the bearer token is wrong; bring one that its issuer made")
	case failing || len(set.keys) == 0:
		return nil, nil, fmt.Errorf("%w: %w: the broker cannot ask %s at present; ask again later", ErrUnauthenticated, ErrIssuerAway, k.name)
	default:
		return nil, nil, refuse("the bearer token is signed with no key of the issuer %s; bring one that it made, or ask again in some seconds if its keys are new", k.name)
	}
}

// await waits for the end of a load that is yet to be done, if one may be done now. It reports whether the last one failed.
func (k *keyring) await(ctx context.Context) (failing bool) {
	k.mu.Lock()
	resting, loaded, failing := time.Now().Before(k.idle), k.loaded, k.failing
	k.mu.Unlock()
	if resting {
		return failing
	}
	k.want()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-loaded:
	case <-ctx.Done():
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failing
}

// want asks for a load as soon as one may be done.
func (k *keyring) want() {
	select {
	case k.wanted <- struct{}{}:
	default:
	}
}

// run gets the keys until ctx ends: one load at a time.
func (k *keyring) run(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = time.Second, maxPause
	for {
		err := k.load(ctx)
		if ctx.Err() != nil {
			return
		}
		still, after := rest, k.source.period()-rest
		if err != nil {
			still, after = pause.NextBackOff(), 0
		} else {
			pause.Reset()
		}
		k.finish(err, still)
		if !sleep(ctx, still, nil) || !sleep(ctx, after, k.wanted) {
			return
		}
	}
}

// load gets the keys once. Keys of which nothing changed stay the same set.
func (k *keyring) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	data, err := k.source.read(ctx, k.iss)
	if err != nil {
		return err
	}
	set, err := parseKeys(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", k.source, err)
	}
	if k.set.Load().digest != set.digest {
		k.set.Store(set)
	}
	return nil
}

// finish tells those who wait that a load is over, and that the next is not begun for a while. What goes on is logged once.
func (k *keyring) finish(err error, still time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil && !k.failing {
		k.log.Warn("the issuer's keys cannot be got; those that are known stay in use", "err", err)
	}
	if err == nil && k.failing {
		k.log.Info("the issuer's keys are there again")
	}
	k.failing, k.idle = err != nil, time.Now().Add(still)
	close(k.loaded)
	k.loaded = make(chan struct{})
}

// sleep waits for d, or until woken. False: ctx has ended.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
		return false
	}
	return true
}
