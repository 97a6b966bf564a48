package token

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Outcome is what is known after a fetch about what the upstream did.
type Outcome string

// The outcomes of a fetch.
const (
	// OutcomeToken: a token was issued and is in hand.
	OutcomeToken Outcome = "token"
	// OutcomeNone: for certain nothing was issued: the upstream refused with a listed code, or not one byte of the request was
	// written.
	OutcomeNone Outcome = "none"
	// OutcomeUnknown: everything else. A token may have been issued, and on a rotating upstream the previous one may be dying.
	OutcomeUnknown Outcome = "unknown"
)

// Grant is a token fresh from the upstream.
type Grant struct {
	Value Secret
	// Life is how long it lives from the moment at which the request was written.
	Life time.Duration
}

// Class sorts failures by what to do about them.
type Class string

// The classes of failure.
const (
	// Transient: busy, slow or broken; it passes. Retry soon.
	Transient Class = "transient"
	// Unreachable: no connection or no TLS handshake; another replica may fare better.
	Unreachable Class = "unreachable"
	// Address: the upstream refuses the address that asks; another replica may fare better, and a human must list the address.
	Address Class = "address"
	// MinuteQuota: too many calls in a minute.
	MinuteQuota Class = "minute_quota"
	// DailyQuota: too many calls today; RetryAfter says when the day ends.
	DailyQuota Class = "daily_quota"
	// Blocked: refused for a stated time; RetryAfter says how long.
	Blocked Class = "blocked"
	// Human: wrong secret, frozen account and the like; retry slowly, someone may be mending it.
	Human Class = "human"
	// Bug: the request was malformed, or the answer made no sense.
	Bug Class = "bug"
)

// MaxMessageSize is how much of an upstream's message is kept, in bytes.
const MaxMessageSize = 512

// Failure is why a fetch brought no token, in a form that is kept in the store and shown to people: it never contains a secret.
type Failure struct {
	// Outcome is OutcomeNone or OutcomeUnknown.
	Outcome Outcome
	Class   Class
	// Written: at least one byte of the request may have reached the upstream.
	Written bool
	// Code is the upstream's own code, or a word such as "timeout", "dial", "tls", "http_502", "malformed".
	Code string
	// Meaning says what the code means; Remedy what a human should do, empty if nothing.
	Meaning string
	Remedy  string
	// Message is the upstream's own text, scrubbed and cut to MaxMessageSize.
	Message string
	// RetryAfter is how long the upstream wants to be left alone; 0 if it did not say.
	RetryAfter time.Duration
	// At is when it happened, and Replica which replica met it. Set by package refresh.
	At      time.Time
	Replica string
}

// Error makes a Failure an error, without the remedy.
func (f *Failure) Error() string {
	if f.Message == "" {
		return fmt.Sprintf("%s (%s): %s", f.Code, f.Class, f.Meaning)
	}
	return fmt.Sprintf("%s (%s): %s: %s", f.Code, f.Class, f.Meaning, f.Message)
}

// Health is the answer of a probe.
type Health string

// The answers of a probe.
const (
	// Alive: the upstream accepts the token now.
	Alive Health = "alive"
	// Dead: the upstream refuses the token as invalid or expired.
	Dead Health = "dead"
)

// FetchRequest says how to fetch.
type FetchRequest struct {
	// Force asks the upstream to kill the current token. Only where Traits.Force.
	Force bool
	// BeforeWrite is called immediately before the first byte of the request is handed to the connection, after dialling and the
	// TLS handshake. If it fails nothing is written and Fetch returns a Failure with OutcomeNone and Written false.
	BeforeWrite func() error
	// AfterWrite is called immediately after the request was written. It may be nil.
	AfterWrite func()
}

// Upstream is where tokens come from.
type Upstream interface {
	// Traits describes it; constant.
	Traits() Traits
	// Fetch writes one request, once, on a fresh connection, following no redirect and repeating nothing. Its error is always a
	// *Failure.
	Fetch(ctx context.Context, req FetchRequest) (Grant, error)
	// Probe asks the upstream whether a token is accepted. An error means that it could not be learned; ErrNoProbe that this
	// upstream cannot be asked.
	Probe(ctx context.Context, value Secret) (Health, error)
}

// ErrNoProbe is returned by Probe where the upstream cannot be asked.
var ErrNoProbe = errors.New("the upstream cannot be asked whether a token lives")

// Traits are the facts about an upstream that the protocol depends on.
type Traits struct {
	// Kind names it for people: "wechat stable".
	Kind string
	// AppID is the application at the upstream that tokens are of. Not secret.
	AppID string
	// Source tells this upstream and application from every other: "wechat stable wx1234 https://api.weixin.qq.com". Not secret. A
	// token of another source is replaced, because the configuration under its name has changed.
	Source string
	// Rotating: every processed fetch issues a new token, leaves the previous one Overlap longer, and kills the one before that at
	// once. Otherwise the upstream is idempotent: a repeated fetch harms nothing.
	Rotating bool
	// Overlap is how long the previous token lives after a rotation.
	Overlap time.Duration
	// MaxLife is the longest life that the upstream ever states.
	MaxLife time.Duration
	// Ahead is the remaining life at which a refresh ahead of expiry is due by default.
	Ahead time.Duration
	// Force: the upstream can be asked to kill the current token; at most ForcedPerDay times a day, ForcedSpacing apart.
	Force         bool
	ForcedPerDay  int64
	ForcedSpacing time.Duration
	// FetchesPerDay is the upstream's quota, and Calendar the time zone in which its day ends.
	FetchesPerDay int64
	Calendar      *time.Location
}
