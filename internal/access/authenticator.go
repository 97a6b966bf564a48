package access

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// Config says how callers may prove who they are.
type Config struct {
	Certificates Certificates
	// Tokens are the static tokens; names and hashes are unique.
	Tokens []StaticToken
	Logger *slog.Logger
}

// Authenticator finds out who is calling. It is safe for concurrent use.
type Authenticator struct {
	log     *slog.Logger
	methods atomic.Pointer[methods]
}

// methods are what one configuration allows. They do not change.
type methods struct {
	certificates Certificates
	static       map[[sha256.Size]byte]Caller
}

// NewAuthenticator returns an Authenticator. It starts nothing.
func NewAuthenticator(cfg Config) (*Authenticator, error) {
	a := &Authenticator{log: cfg.Logger}
	if err := a.Configure(cfg); err != nil {
		return nil, err
	}
	return a, nil
}

// Configure replaces how callers may prove who they are, but for the logger. After an error everything is as before.
func (a *Authenticator) Configure(cfg Config) error {
	if err := cfg.Certificates.validate(); err != nil {
		return err
	}
	m := &methods{certificates: cfg.Certificates, static: make(map[[sha256.Size]byte]Caller, len(cfg.Tokens))}
	for _, t := range cfg.Tokens {
		m.static[t.SHA256] = Caller{Identities: []Identity{KindToken + Identity(t.Name)}}
	}
	a.methods.Store(m)
	return nil
}

// Run blocks until ctx ends.
func (a *Authenticator) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Authenticate returns who is calling. Every credential that was brought must be valid. Errors are of kind ErrUnauthenticated and say to
// the caller what is wrong with which credential. What is returned must not be changed.
func (a *Authenticator) Authenticate(ctx context.Context, o Origin) (Caller, error) {
	m := a.methods.Load()
	var all Caller
	if o.Certificate != nil {
		ids, err := m.certificates.identities(o.Certificate, time.Now())
		if err != nil {
			return Caller{}, err
		}
		all = Caller{Identities: ids, Expires: o.Certificate.NotAfter}
	}
	if !o.Bearer.IsZero() {
		c, err := m.bearer(ctx, o.Bearer.Reveal()) //nolint:forbidigo // its hash is looked up; it is kept nowhere
		if err != nil {
			return Caller{}, err
		}
		all = all.and(c)
	}
	if o.Client != "" {
		all = all.and(Caller{Identities: []Identity{KindClient + Identity(o.Client)}})
	}
	if len(all.Identities) == 0 {
		return Caller{Identities: []Identity{Anonymous}}, nil
	}
	return all, nil
}

// and is a caller who is both.
func (c Caller) and(other Caller) Caller {
	if len(c.Identities) == 0 {
		return other
	}
	both := Caller{Identities: slices.Concat(c.Identities, other.Identities), Expires: c.Expires}
	if both.Expires.IsZero() || !other.Expires.IsZero() && other.Expires.Before(both.Expires) {
		both.Expires = other.Expires
	}
	return both
}

// bearer returns whose the token is.
func (m *methods) bearer(_ context.Context, raw string) (Caller, error) {
	if c, ok := m.static[sha256.Sum256([]byte(raw))]; ok {
		return c, nil
	}
	return Caller{}, refuse("the bearer token is nobody's; use the secret that broker caller create printed, or none")
}
