package guard_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/audit"
	"github.com/tokenbroker/tokenbroker/internal/guard"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The methods as package server names them.
var (
	get     = server.Method{Name: "/tokenbroker.v1.TokenBrokerService/GetToken", Verb: access.Get}
	watch   = server.Method{Name: "/tokenbroker.v1.TokenBrokerService/WatchToken", Verb: access.Watch, Stream: true}
	list    = server.Method{Name: "/tokenbroker.v1.TokenBrokerService/ListTokens", Verb: access.List}
	report  = server.Method{Name: "/tokenbroker.v1.TokenBrokerService/ReportInvalidToken", Verb: access.Report}
	refresh = server.Method{Name: "/tokenbroker.v1.AdminService/RefreshToken", Verb: access.Refresh}
	see     = server.Method{Name: "/tokenbroker.v1.AdminService/GetStatus", Verb: access.Status}
	resign  = server.Method{Name: "/tokenbroker.v1.AdminService/ResignLeadership", Verb: access.Resign}
)

// ample are limits that no test reaches by accident.
var ample = guard.Limits{Rate: 1 << 20, Burst: 1 << 20, Streams: 1 << 20, Calls: 1 << 20}

// passes says who has which bearer token, and until when: the identities that it proves, separated by blanks.
type passes struct {
	mu sync.Mutex
	of map[string]access.Caller
	// away: whose pass is not known cannot be told.
	away bool
}

func (p *passes) give(bearer string, expires time.Time, ids ...access.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[bearer] = access.Caller{Identities: ids, Expires: expires}
}

func (p *passes) take(bearer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.of, bearer)
}

func (p *passes) Authenticate(_ context.Context, o access.Origin) (access.Caller, error) {
	if o.Bearer.IsZero() {
		return access.Caller{Identities: []access.Identity{access.Anonymous}}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.of[o.Bearer.Reveal()]
	if p.away && !ok {
		return c, fmt.Errorf("%w: %w: ask again", access.ErrUnauthenticated, access.ErrIssuerAway)
	}
	if !ok {
		return c, fmt.Errorf("%w: no such pass", access.ErrUnauthenticated)
	}
	return c, nil
}

// book is an audit log in memory, which may be full.
type book struct {
	mu      sync.Mutex
	full    bool
	tries   int
	records []audit.Record
}

func (b *book) Append(r audit.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	if b.full {
		return audit.ErrUnrecorded
	}
	b.records = append(b.records, r)
	return nil
}

func (b *book) fill(full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = full
}

// all are the records so far, in short: phase, identities, verb, token, version, decision, rule and code.
func (b *book) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for _, r := range b.records {
		decision := "deny"
		if r.Allowed {
			decision = "allow"
		}
		lines = append(lines, strings.Join(strings.Fields(fmt.Sprint(r.Phase, " ", r.Who, " ", r.Verb, " ", r.Token, " ", r.Version, " ", decision, " ", r.Rule, " ", r.Code)), " "))
	}
	return lines
}

// door is a guard and everything behind it.
type door struct {
	*guard.Guard
	tb     testing.TB
	passes *passes
	book   *book
}

type originKey struct{}

// newDoor returns the guard of a policy: shop may do all with "shop*" and list, operators everything, the anonymous nothing but get "open".
func newDoor(tb testing.TB, limits guard.Limits) *door {
	tb.Helper()
	d := &door{tb: tb, passes: &passes{of: map[string]access.Caller{}}, book: &book{}}
	for _, name := range []string{"shop", "till", "boss"} {
		d.passes.give(name, time.Time{}, access.Identity("token:"+name))
	}
	d.Guard = guard.New(guard.Config{Audit: d.book, Origin: func(ctx context.Context) (access.Origin, error) {
		o, ok := ctx.Value(originKey{}).(access.Origin)
		if !ok {
			return o, fmt.Errorf("%w: malformed", access.ErrUnauthenticated)
		}
		return o, nil
	}}, d.rules(limits))
	return d
}

func (d *door) rules(limits guard.Limits) guard.Rules {
	d.tb.Helper()
	policy, err := access.NewPolicy([]access.Rule{
		{Where: "policy[0]", Identities: []string{"token:shop"}, Tokens: []string{"shop*"}, Verbs: access.Verbs},
		{Where: "policy[1]", Identities: []string{"token:boss", "jwt:k8s:*"}, Tokens: []string{"*"}, Verbs: access.Verbs},
		{Where: "policy[2]", Identities: []string{"anonymous"}, Tokens: []string{"open"}, Verbs: []access.Verb{access.Get}},
	})
	if err != nil {
		d.tb.Fatal(err)
	}
	return guard.Rules{Authenticator: d.passes, Policy: policy, Limits: limits}
}

// from is the context of a call: with a bearer token, or none, from an address.
func from(bearer, peer string) context.Context {
	o := access.Origin{Peer: peer}
	if bearer != "" {
		o.Bearer = token.NewSecret(bearer)
	}
	return context.WithValue(context.Background(), originKey{}, o)
}

const here = "10.0.0.1:40000"

// enter admits a call that must be admitted.
func (d *door) enter(bearer string, m server.Method) server.Visit {
	d.tb.Helper()
	v, err := d.Admit(from(bearer, here), m)
	if err != nil {
		d.tb.Fatal(err)
	}
	return v
}

// get is a whole call of GetToken. The error is what the caller gets.
func (d *door) get(ctx context.Context, name string) error {
	v, err := d.Admit(ctx, get)
	if err != nil {
		return err
	}
	if err = v.Allow(name); err == nil {
		err = v.Hand(name, 1)
	}
	v.End(err)
	return err
}

// refused checks code and reason, and returns when to come back.
func refused(tb testing.TB, err error, code codes.Code, reason string) time.Duration {
	tb.Helper()
	var (
		st   = status.Convert(err)
		why  string
		wait time.Duration
	)
	for _, detail := range st.Details() {
		switch info := detail.(type) {
		case *errdetails.ErrorInfo:
			why = info.GetReason()
		case *errdetails.RetryInfo:
			wait = info.GetRetryDelay().AsDuration()
		}
	}
	if st.Code() != code || why != reason {
		tb.Fatalf("error is %v, reason %q; want %v, %q", err, why, code, reason)
	}
	return wait
}

// counted is what the metric has for a reason, by kind.
func (d *door) counted(reason string) map[string]float64 {
	d.tb.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(d.Guard)
	families, err := registry.Gather()
	if err != nil {
		d.tb.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); labels[1].GetValue() == reason {
				found[labels[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return found
}

var errNotFound = status.Error(codes.NotFound, "there is none")
