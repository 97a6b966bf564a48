package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// Guard decides whose calls are carried out. It is asked around the generated handlers, for each call of both services.
type Guard interface {
	// Admit says who is calling, and takes from what they may have of calls and streams. Errors are made by Unauthenticated, Undecided and
	// Limited; if there is one, there is no Visit. It may block for some seconds, where keys of an issuer must be got first.
	Admit(ctx context.Context, m Method) (Visit, error)
}

// Method is what is called.
type Method struct {
	// Name is the full name: /tokenbroker.v1.TokenBrokerService/GetToken.
	Name string
	Verb access.Verb
	// Stream: the call lasts until one side ends it.
	Stream bool
}

// Visit is a call that was admitted. It is used by one goroutine at a time. Its errors are made by the functions below.
type Visit interface {
	// Allow says whether the caller may do that with the token, whether there is such a token or not; the empty name stands for all tokens. It is
	// asked before the handler sees the request, or for each token that an answer may show; in streams again every few seconds, since
	// policies are replaced and credentials expire.
	Allow(token string) error
	// Hand is asked before an answer or a message of a stream leaves, with the token and version that it shows, if it is about one. What it
	// refuses does not leave.
	Hand(token string, version int64) error
	// End is told once what the caller is: a status, or nil.
	End(err error)
}

// Unauthenticated is the refusal of a caller who did not say who they are, or whose word is not believed. Its text is shown.
func Unauthenticated(err error) error {
	return &refusal{code: codes.Unauthenticated, reason: ReasonUnauthenticated, message: err.Error()}
}

// Undecided is the refusal of a caller whose word can be neither believed nor refused at present. Its text is shown.
func Undecided(err error) error {
	return &refusal{code: codes.Unavailable, reason: ReasonIssuerAway, retryAfter: soon(), message: err.Error()}
}

// Denied is the refusal of what a caller may not do. The text must not depend on whether there is such a token.
func Denied(message string) error {
	return &refusal{code: codes.PermissionDenied, reason: ReasonDenied, message: message}
}

// Limited is the refusal of what a caller asks too often or too much at once.
func Limited(message string, retryAfter time.Duration) error {
	return &refusal{code: codes.ResourceExhausted, reason: ReasonCallerLimit, message: message, retryAfter: retryAfter}
}

// Unrecorded is the refusal of a call that cannot be recorded where each must be.
func Unrecorded() error {
	return &refusal{code: codes.Unavailable, reason: ReasonAuditFull, retryAfter: soon(),
		message: "this replica cannot write its audit log, and answers nobody meanwhile; ask another"}
}

// scope says which tokens a method is about.
type scope uint8

const (
	// ofAll: no token in particular, so the caller must be allowed it for all. Also what a method has that is forgotten in the table below:
	// its verb is none, which nobody is allowed.
	ofAll scope = iota
	// ofOne: the token that the request names.
	ofOne
	// ofEach: the handler shows those that are allowed.
	ofEach
)

// permission is what the caller of a method needs.
type permission struct {
	verb  access.Verb
	scope scope
}

// permissions are those of all methods, by their names in the services.
func permissions() map[string]permission {
	return map[string]permission{
		"GetToken":           {access.Get, ofOne},
		"WatchToken":         {access.Watch, ofOne},
		"ReportInvalidToken": {access.Report, ofOne},
		"ListTokens":         {access.List, ofEach},
		"GetStatus":          {access.Status, ofEach},
		"RefreshToken":       {access.Refresh, ofOne},
		"ResignLeadership":   {access.Resign, ofAll},
	}
}

// ask asks whether a request may be carried out.
func (s scope) ask(visit Visit, request any) error {
	switch s {
	case ofOne:
		named, ok := request.(interface{ GetName() string })
		if !ok {
			return fmt.Errorf("asking the guard: a %T names no token", request)
		}
		return visit.Allow(named.GetName())
	case ofEach:
		return nil
	default:
		return visit.Allow("")
	}
}
