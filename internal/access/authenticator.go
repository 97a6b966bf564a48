package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how callers may prove who they are.
type Config struct {
	Certificates Certificates
	// Issuers are those whose JSON Web Tokens are taken.
	Issuers []Issuer
	// Tokens are the static tokens; names and hashes are unique.
	Tokens []StaticToken
	Logger *slog.Logger
}

// Authenticator finds out who is calling. It is safe for concurrent use.
type Authenticator struct {
	log     *slog.Logger
	methods atomic.Pointer[Methods]
}

// Methods are what one configuration allows. They do not change, but for the keys of issuers. They are safe for concurrent use.
type Methods struct {
	certificates Certificates
	static       map[[sha256.Size]byte]Caller
	issuers      map[string]*issuer // by iss
	known        *verdicts
	// replaced is closed when others take their place.
	replaced chan struct{}
}

// NewAuthenticator returns an Authenticator. It starts nothing.
func NewAuthenticator(cfg Config) (*Authenticator, error) {
	a := &Authenticator{log: cfg.Logger}
	a.methods.Store(&Methods{replaced: make(chan struct{})})
	if err := a.Configure(cfg); err != nil {
		return nil, err
	}
	return a, nil
}

// Configure replaces how callers may prove who they are, but for the logger. It reads the issuers' files; what an issuer that did not change
// has told of its keys stays known. After an error everything is as before. Not to be called twice at once.
func (a *Authenticator) Configure(cfg Config) error {
	if err := cfg.Certificates.validate(); err != nil {
		return err
	}
	before := a.methods.Load()
	m := &Methods{
		certificates: cfg.Certificates, static: make(map[[sha256.Size]byte]Caller, len(cfg.Tokens)),
		issuers: make(map[string]*issuer, len(cfg.Issuers)), known: newVerdicts(), replaced: make(chan struct{}),
	}
	for _, t := range cfg.Tokens {
		m.static[t.SHA256] = Caller{Identities: []Identity{KindToken + Identity(t.Name)}}
	}
	for _, i := range cfg.Issuers {
		made, err := a.issuer(i, before)
		if err != nil {
			return err
		}
		if twin, taken := m.issuers[i.Issuer]; taken {
			return fmt.Errorf("the issuers %s and %s are the same: both have %q", twin.Name, i.Name, i.Issuer)
		}
		m.issuers[i.Issuer] = made
	}
	close(a.methods.Swap(m).replaced)
	return nil
}

// issuer makes an issuer ready. Keys in a file are read at once, so that a file that is of no use is known now.
func (a *Authenticator) issuer(i Issuer, before *Methods) (*issuer, error) {
	if i.Claim == "" {
		i.Claim = "sub"
	}
	if i.Keys.File == "" && i.Keys.Discovery == "" {
		i.Keys.Discovery = i.Issuer
	}
	if err := i.validate(); err != nil {
		return nil, err
	}
	made := &issuer{Issuer: i}
	of := owner{i.Name, i.Issuer, i.Keys}
	if old := before.issuers[i.Issuer]; old != nil && old.keys.owner == of {
		made.keys = old.keys
	} else {
		made.keys = newKeyring(of, a.log)
	}
	if i.Keys.File != "" {
		if err := made.keys.load(context.Background()); err != nil { // files only: nothing to wait for
			return nil, fmt.Errorf("issuer %s: %w", i.Name, err)
		}
	}
	return made, nil
}

// Run gets the issuers' keys, now and regularly, until ctx ends. Before it runs no token of an issuer with OIDC discovery is taken.
func (a *Authenticator) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	running := map[*keyring]context.CancelFunc{}
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	for {
		m := a.methods.Load()
		wanted := map[*keyring]bool{}
		for _, i := range m.issuers {
			wanted[i.keys] = true
			if running[i.keys] == nil {
				own, stop := context.WithCancel(ctx)
				running[i.keys] = stop
				all.Go(func() { i.keys.run(own) })
			}
		}
		for k, stop := range running {
			if !wanted[k] {
				stop()
				delete(running, k)
			}
		}
		select {
		case <-m.replaced:
		case <-ctx.Done():
			return nil
		}
	}
}

// Present returns the methods that are in force. Who decides by a policy takes both from one configuration: a name that is given to somebody else,
// and loses rights by the same change, must not have them meanwhile.
func (a *Authenticator) Present() *Methods { return a.methods.Load() }

// Authenticate is that of the methods that are in force.
func (a *Authenticator) Authenticate(ctx context.Context, o Origin) (Caller, error) {
	return a.Present().Authenticate(ctx, o)
}

// Authenticate returns who is calling. Every credential that was brought must be valid. Errors are of kind ErrUnauthenticated and say to
// the caller what is wrong with which credential. What is returned must not be changed.
func (m *Methods) Authenticate(ctx context.Context, o Origin) (Caller, error) {
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
func (m *Methods) bearer(ctx context.Context, raw string) (Caller, error) {
	if len(m.static) == 0 && len(m.issuers) == 0 {
		return Caller{}, refuse("bearer tokens are not taken here; bring none")
	}
	sum := sha256.Sum256([]byte(raw))
	if c, ok := m.static[sum]; ok {
		return c, nil
	}
	if c, ok := m.known.get(sum); ok {
		return c, nil
	}
	jws, claims, err := parseJWT(raw)
	if err != nil {
		return Caller{}, err
	}
	i, ok := m.issuers[claims.Issuer]
	if !ok {
		return Caller{}, refuse("the bearer token's issuer %.200q is not one of those that are believed here; bring a token of one that is", claims.Issuer)
	}
	c, keys, err := i.verify(ctx, jws, claims)
	if err != nil {
		return Caller{}, err
	}
	m.known.put(sum, verdict{c, i.keys, keys})
	return c, nil
}
