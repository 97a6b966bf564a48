package guard

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/audit"
	"github.com/tokenbroker/tokenbroker/internal/server"
)

// Authenticator finds out who is calling. Its errors are shown to the caller.
type Authenticator interface {
	Authenticate(ctx context.Context, o access.Origin) (access.Caller, error)
}

// Policy decides. It must not block.
type Policy interface {
	Decide(c access.Caller, verb access.Verb, token string) access.Decision
}

// Recorder keeps the audit log. Its errors say that a record must be made and was not.
type Recorder interface {
	Append(r audit.Record) error
}

// Config puts a Guard together.
type Config struct {
	// Origin tells where a call comes from, by the context of its handler. Its errors are shown to the caller.
	Origin func(context.Context) (access.Origin, error)
	// Audit is where calls are recorded; nil: nowhere.
	Audit Recorder
}

// Rules are what can be replaced while calls are under way.
type Rules struct {
	Authenticator Authenticator
	Policy        Policy
	Limits        Limits
}

// Guard implements server.Guard, and is a prometheus.Collector of what it refused.
type Guard struct {
	cfg     Config
	rules   atomic.Pointer[Rules]
	buckets *buckets
	proven  proven
	metrics metrics
}

var _ server.Guard = (*Guard)(nil)

// New returns a Guard. It starts nothing.
func New(cfg Config, rules Rules) *Guard {
	g := &Guard{cfg: cfg, buckets: newBuckets(rules.Limits), metrics: newMetrics()}
	g.rules.Store(&rules)
	return g
}

// Replace puts other rules in force, for calls under way as well: see the package documentation.
func (g *Guard) Replace(rules Rules) {
	g.buckets.limit(rules.Limits)
	g.rules.Store(&rules)
}

// Admit implements server.Guard. It blocks only as long as the Authenticator does, and as writing to the audit log may.
func (g *Guard) Admit(ctx context.Context, m server.Method) (server.Visit, error) {
	v := &visit{guard: g, ctx: ctx, method: m, began: time.Now()}
	origin, err := g.cfg.Origin(ctx)
	if err := g.enter(v, origin, err); err != nil {
		return nil, err
	}
	return v, nil
}

// Authorize decides about a request that is no call of gRPC, for all tokens; wrong is what is wrong with its credentials, if something is.
// Its errors are like those of calls, with codes and details.
func (g *Guard) Authorize(ctx context.Context, origin access.Origin, wrong error, m server.Method) (err error) {
	v := &visit{guard: g, ctx: ctx, method: m, began: time.Now(), known: true}
	if err := g.enter(v, origin, wrong); err != nil {
		return err
	}
	defer func() { v.End(err) }()
	if err := v.Allow(""); err != nil {
		return err
	}
	return v.Hand("", 0)
}

// enter lets a call in. Without an error its End must be called.
func (g *Guard) enter(v *visit, origin access.Origin, err error) error {
	v.rules, v.origin = g.rules.Load(), origin
	address := g.buckets.address(origin.Peer)
	if wait := g.buckets.suspicion(address); wait > 0 && (err != nil || g.suspects(origin)) {
		g.metrics.refuse(tooManyFailures, kindless)
		return server.Limited("too many calls from this address were refused for the credentials that they brought, or did not bring", spread(wait))
	}
	if err == nil {
		v.caller, err = v.rules.Authenticator.Authenticate(v.ctx, origin)
	}
	if err != nil {
		return g.unknown(v, address, err)
	}
	if !origin.Bearer.IsZero() {
		g.proven.add(origin.Bearer)
	}
	if limit, wait := g.buckets.enter(v, address); wait > 0 {
		g.metrics.refuse(limit, kindOf(v.caller))
		return server.Limited(limit.text(), spread(wait))
	}
	return nil
}

// suspects reports whether a caller is to be sent away from an address that failed too often: whoever brings nothing, or a bearer token that
// is not known to be good. Certificates were verified before the call.
func (g *Guard) suspects(o access.Origin) bool {
	if !o.Bearer.IsZero() {
		return !g.proven.has(o.Bearer)
	}
	return o.Certificate == nil && o.Client == ""
}

// unknown books that nobody knows who calls. A token whose issuer is away counts as well, or made-up ones would be tried for nothing, but one
// that was found good before stays so. Errors that say nothing to the caller are faults of this replica, and come as they are.
func (g *Guard) unknown(v *visit, address uint64, err error) error {
	if !errors.Is(err, access.ErrUnauthenticated) {
		return err
	}
	if !errors.Is(err, access.ErrIssuerAway) {
		g.proven.remove(v.origin.Bearer)
	}
	g.buckets.suspect(address)
	g.metrics.refuse(unauthenticated, kindless)
	refusal := refusalOf(err)
	_ = v.record(audit.Done, status.Code(refusal)) // a refusal that is not recorded stays one
	return refusal
}

// refusalOf is what a caller is told of an error of authentication; other errors come as they are.
func refusalOf(err error) error {
	switch {
	case errors.Is(err, access.ErrIssuerAway):
		return server.Undecided(err)
	case errors.Is(err, access.ErrUnauthenticated):
		return server.Unauthenticated(err)
	default:
		return err
	}
}
