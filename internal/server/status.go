package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// ErrorDomain is the domain of every ErrorInfo.
const ErrorDomain = "tokenbroker"

// The reasons of ErrorInfo.
const (
	ReasonNoTokenYet    = "NO_TOKEN_YET"      // UNAVAILABLE: no fetch has succeeded so far
	ReasonExpired       = "EXPIRED"           // UNAVAILABLE: the last token is past its end
	ReasonCondemned     = "CONDEMNED"         // UNAVAILABLE: the upstream declared the last token dead before its end
	ReasonRefreshFailed = "REFRESH_FAILED"    // UNAVAILABLE: the fetch that was asked for failed
	ReasonRefreshLimit  = "REFRESH_LIMIT"     // RESOURCE_EXHAUSTED: spacing or budget
	ReasonMinTTLTooLong = "MIN_TTL_TOO_LONG"  // FAILED_PRECONDITION: no token ever lives that long
	ReasonMinTTLNotMet  = "MIN_TTL_NOT_MET"   // DEADLINE_EXCEEDED: the token has less life left, and no newer one came
	ReasonUnsettled     = "UNSETTLED"         // DEADLINE_EXCEEDED: the request goes on, the leader has not settled it yet
	ReasonNoLeader      = "NO_LEADER"         // UNAVAILABLE: no replica leads
	ReasonStoreAway     = "STORE_UNREACHABLE" // UNAVAILABLE: this replica cannot reach the leader, ask another
	ReasonLagging       = "REPLICA_LAGGING"   // UNAVAILABLE: this replica's view is too old to tell, ask another
	ReasonDraining      = "REPLICA_DRAINING"  // UNAVAILABLE: this replica is shutting down, ask another
	ReasonReconfigured  = "RECONFIGURED"      // UNAVAILABLE: the token's configuration changed meanwhile, ask again

	ReasonUnauthenticated = "UNAUTHENTICATED"   // UNAUTHENTICATED: who calls could not be told, or cannot any longer
	ReasonDenied          = "PERMISSION_DENIED" // PERMISSION_DENIED: the policy does not allow it, whether there is such a token or not
	ReasonCallerLimit     = "CALLER_LIMIT"      // RESOURCE_EXHAUSTED: the caller asks too often or too much at once
	ReasonIssuerAway      = "ISSUER_AWAY"       // UNAVAILABLE: who calls cannot be told while the issuer's keys cannot be got
	ReasonAuditFull       = "AUDIT_FULL"        // UNAVAILABLE: this replica cannot record the call, and must; ask another
)

// refusal is an error that is meant for the caller's eyes.
type refusal struct {
	code       codes.Code
	message    string
	reason     string            // of ErrorInfo; none if empty
	metadata   map[string]string // of ErrorInfo
	retryAfter time.Duration     // of RetryInfo, which goes with the codes that invite another try
}

// Error returns the message.
func (r *refusal) Error() string { return r.message }

// GRPCStatus makes the refusal a status with its details.
func (r *refusal) GRPCStatus() *status.Status {
	st := status.New(r.code, r.message)
	var details []protoadapt.MessageV1
	if r.reason != "" {
		details = append(details, &errdetails.ErrorInfo{Reason: r.reason, Domain: ErrorDomain, Metadata: r.metadata})
	}
	if r.code == codes.Unavailable || r.code == codes.ResourceExhausted {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(r.retryAfter)})
	}
	detailed, err := st.WithDetails(details...)
	if err != nil {
		return st // an upstream's text that is not UTF-8 shall not hide the code
	}
	return detailed
}

var (
	errDraining error = &refusal{code: codes.Unavailable, reason: ReasonDraining,
		message: "this replica is shutting down; ask another"}
	errReconfigured error = &refusal{code: codes.Unavailable, reason: ReasonReconfigured,
		message: "the token's configuration changed; ask again"}
	errLagging error = &refusal{code: codes.Unavailable, reason: ReasonLagging,
		message: "this replica's view is too old to know that version; ask another"}
	errTooLate error = &refusal{code: codes.Unavailable, reason: ReasonExpired,
		message: "what was promised of the token ended before the answer could be recorded; ask again"}
)

// badRequest names the field, as the services promise, and never repeats a value that may be secret.
func badRequest(field, problem string) error {
	return &refusal{code: codes.InvalidArgument, message: field + ": " + problem}
}

func unknownToken(name string) error {
	return &refusal{code: codes.NotFound, message: fmt.Sprintf("this replica has no token %q in its configuration", name)}
}

func tooLong(name string, least, longest time.Duration) error {
	return &refusal{code: codes.FailedPrecondition, reason: ReasonMinTTLTooLong,
		message: fmt.Sprintf("min_ttl: %v is asked for, but what is promised for token %q is always less than %v", least, name, longest)}
}

func tooShort(name string, ttl, least time.Duration) error {
	return &refusal{code: codes.DeadlineExceeded, reason: ReasonMinTTLNotMet,
		message: fmt.Sprintf("only %v is promised for token %q, min_ttl asks for %v, and no newer token came in time", ttl, name, least)}
}

// noToken says why there is nothing to hand out, what the upstream said, and when to ask again: not before a fetch may begin.
func (s *Server) noToken(t *view.Token, r view.Reading) error {
	name := t.Name()
	refused := &refusal{code: codes.Unavailable, retryAfter: soon()}
	switch {
	case r.Record.Value.IsZero():
		refused.reason, refused.message = ReasonNoTokenYet, fmt.Sprintf("token %q has not been fetched yet", name)
	case r.Record.Condemned:
		refused.reason, refused.message = ReasonCondemned, fmt.Sprintf("token %q was refused by the upstream before its end", name)
	default:
		refused.reason, refused.message = ReasonExpired, fmt.Sprintf("token %q has expired", name)
	}
	if r.Record.Failures > 0 {
		refused.message += "; the last fetch failed"
		refused.blame(&r.Record.LastFailure)
	}
	if cut := s.cutOff(); cut != "" {
		refused.message += "; this replica " + cut + ": ask another"
	} else if rest := s.rest(t); rest > 0 {
		refused.message += "; " + s.quietFor(rest)
		refused.retryAfter += rest
	}
	return refused
}

// blame adds an upstream's failure, which holds no secret; the remedy is for people, and so is in the details only.
func (r *refusal) blame(f *token.Failure) {
	r.message += ": " + f.Meaning
	r.metadata = map[string]string{"upstream_code": f.Code, "upstream_meaning": f.Meaning, "upstream_remedy": f.Remedy}
}

// unsettled says that the caller's time ended before the leader's work did, and when to look again. t is nil where it is about no token.
func (s *Server) unsettled(what string, t *view.Token) error {
	message := what + " goes on, but was not settled within the caller's deadline"
	if t != nil {
		if rest := s.rest(t); rest > 0 {
			message += "; " + s.quietFor(rest) + ": look again then"
		}
	}
	return &refusal{code: codes.DeadlineExceeded, reason: ReasonUnsettled, message: message}
}

// quietFor says in words when a fetch may begin.
func (s *Server) quietFor(rest time.Duration) string {
	return fmt.Sprintf("after the last fetch or change of leaders the upstream is left in peace, so that no fetch begins before %s (in %v)",
		s.cfg.Wall().Add(rest).Format("15:04:05 -07:00"), rest.Round(time.Second))
}

func noLeader() error {
	return &refusal{code: codes.Unavailable, reason: ReasonNoLeader, retryAfter: soon(), message: "no replica leads at the moment"}
}

// storeAway is for what only the leader can do.
func (s *Server) storeAway() error {
	message := "this replica cannot reach the leader; ask another"
	if cut := s.cutOff(); cut != "" {
		message = "this replica " + cut + ", and so from the leader; ask another"
	}
	return &refusal{code: codes.Unavailable, reason: ReasonStoreAway, retryAfter: soon(), message: message}
}

// cutOff says in words that this replica is cut off from etcd, and since when if that is known; empty if it is not.
func (s *Server) cutOff() string {
	age, known := s.view.Age()
	switch {
	case s.view.InSync():
		return ""
	case known:
		return fmt.Sprintf("has been cut off from etcd since %s (for %v)",
			s.cfg.Wall().Add(-age).Format("15:04:05 -07:00"), age.Truncate(time.Second))
	default:
		return "is cut off from etcd"
	}
}

// toStatus is the one place where an error of a handler becomes a status. A status that an error *wraps* is nobody's business: etcd's
// client is a gRPC client itself, and its errors would pass for ours.
func (s *Server) toStatus(ctx context.Context, method string, err error) error {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused.GRPCStatus().Err()
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller went away")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the caller's deadline has passed")
	}
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return err // bare, so gRPC's own, and on its way already: a request that is too large, or no message of ours
	}
	s.cfg.Logger.ErrorContext(ctx, "rpc failed", "method", method, "err", err)
	return status.Error(codes.Internal, "internal error; the replica's log has the cause")
}
