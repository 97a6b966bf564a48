package tokenbroker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrClosed is returned by everything that is asked of a Client after Close.
var ErrClosed = errors.New("tokenbroker: the client is closed")

// Error is what the broker said in place of a token, or why it could not be asked. It holds no token. status.FromError finds the status
// with all its details in it.
type Error struct {
	// Name is the name of the token.
	Name string
	// Code is the gRPC code.
	Code codes.Code
	// Message is the broker's text for people.
	Message string
	// Reason is the broker's reason, such as "EXPIRED": docs/API.md has the list. Empty if it was not a broker that said it.
	Reason string
	// RetryAfter is when to come back; 0 if that was not said. The client itself comes back by then.
	RetryAfter time.Duration
	// UpstreamCode, UpstreamMeaning and UpstreamRemedy say what the upstream's last refusal was, and what a human should do, where
	// that is the cause.
	UpstreamCode, UpstreamMeaning, UpstreamRemedy string

	cause error
}

func newError(name string, err error) *Error {
	st := status.Convert(err)
	e := &Error{Name: name, Code: st.Code(), Message: st.Message(), cause: err}
	// gRPC says of a call that it repeated in vain: "max retries exhausted: failed after 3 attempts: rpc error: code = .. desc = ..".
	if _, last, repeated := strings.Cut(e.Message, " desc = "); repeated {
		e.Message = last
	}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason = d.GetReason()
			e.UpstreamCode = d.GetMetadata()["upstream_code"]
			e.UpstreamMeaning = d.GetMetadata()["upstream_meaning"]
			e.UpstreamRemedy = d.GetMetadata()["upstream_remedy"]
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	return e
}

// Error says all that a person needs.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "token %q: %v", e.Name, e.Code)
	if e.Reason != "" {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	fmt.Fprintf(&b, ": %s", e.Message)
	if e.UpstreamRemedy != "" {
		fmt.Fprintf(&b, " (upstream code %s: %s)", e.UpstreamCode, e.UpstreamRemedy)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "; try again in %v", e.RetryAfter.Round(time.Millisecond))
	}
	return b.String()
}

// Unwrap returns the error of gRPC.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus returns the status that the broker answered with.
func (e *Error) GRPCStatus() *status.Status { return status.Convert(e.cause) }

// final reports whether asking again is of no use until somebody changes something.
func (e *Error) final() bool {
	switch e.Code {
	case codes.NotFound, codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition, codes.Unimplemented:
		return true
	default:
		return false
	}
}

// settled reports whether a caller is better told now than kept waiting: the broker knows that there is no living token, and a new one
// will take its time.
func (e *Error) settled() bool {
	return e.final() || e.Code == codes.ResourceExhausted || e.Reason == reasonExpired || e.Reason == reasonCondemned
}

// Reasons that make a difference here.
const (
	reasonExpired   = "EXPIRED"
	reasonCondemned = "CONDEMNED"
)
