package access

import (
	"crypto/x509"
	"errors"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Identity names a caller. Its beginning tells what proved it, so that names of different kinds never mean the same:
//
//	spiffe://example.org/shop    a client certificate's URI SAN
//	dns:shop.example.org         a client certificate's DNS SAN
//	cn:shop                      a client certificate's common name
//	jwt:k8s:system:serviceaccount:web:shop   a token of the issuer that the configuration calls k8s, and its subject
//	token:shop                   a line of the file of static tokens
//	client:shop                  a client's secret, on the WeChat-compatible paths
//	anonymous                    nothing at all
type Identity string

// Anonymous is the identity of a caller who brought no credentials. Only a pattern of just this text matches it.
const Anonymous Identity = "anonymous"

// Verb is what a caller wants to do.
type Verb string

// The verbs of a policy.
const (
	Get     Verb = "get"     // GetToken: has the value
	Watch   Verb = "watch"   // WatchToken: has the value
	Report  Verb = "report"  // ReportInvalidToken
	List    Verb = "list"    // ListTokens: names, versions and lives, no values
	Refresh Verb = "refresh" // RefreshToken
	Resign  Verb = "resign"  // Resign: about no token, so a rule for it must be for all
	Status  Verb = "status"  // GetStatus, and /metrics
)

// Verbs are all verbs.
var Verbs = []Verb{Get, Watch, Report, List, Refresh, Resign, Status}

// Origin is what arrived with a call, before anything of it is believed but what TLS has verified.
type Origin struct {
	// Peer is the address that the call came from, host:port.
	Peer string
	// Certificate is the caller's own, verified against the authorities for clients; nil if there is none.
	Certificate *x509.Certificate
	// Bearer is the token of the Authorization header, without "Bearer "; zero if there is none.
	Bearer token.Secret
	// Client is the client of the WeChat-compatible paths whose secret the gateway has verified; empty if there is none.
	Client string
}

// Caller is who makes a call.
type Caller struct {
	// Identities are what the credentials prove, at least one. The strictest rule: what is not allowed to each of them is not allowed.
	Identities []Identity
	// Expires is when the first of the credentials does; zero if none ever does.
	Expires time.Time
}

// ErrUnauthenticated is what Authenticate's refusals are. Their texts may be shown to the caller.
var ErrUnauthenticated = errors.New("not authenticated")
