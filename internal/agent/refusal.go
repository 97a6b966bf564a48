package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/internal/server"
)

// ReasonUnreachable is the one reason that only an agent gives: UNAVAILABLE, because it holds nothing and no broker answers it.
const ReasonUnreachable = "CLUSTER_UNREACHABLE"

// refusal makes an error of the shape that a broker's have.
func refusal(code codes.Code, reason, message string) error {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: server.ErrorDomain}}
	if code == codes.Unavailable {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(soon())})
	}
	st, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		return status.Error(code, message)
	}
	return st.Err()
}

// soon is one to two seconds, jittered.
func soon() time.Duration { return time.Second + rand.N(time.Second) }

func badRequest(field, problem string) error {
	return status.Error(codes.InvalidArgument, field+": "+problem)
}

func unreachable(name string) error {
	return refusal(codes.Unavailable, ReasonUnreachable,
		fmt.Sprintf("this agent holds no living token %q, and reaches no broker that has one", name))
}

func tooShort(name string, ttl, least time.Duration) error {
	return refusal(codes.DeadlineExceeded, server.ReasonMinTTLNotMet,
		fmt.Sprintf("only %v is promised for token %q, min_ttl asks for %v, and no newer token came in time", ttl, name, least))
}

func unsettled(name string, version int64) error {
	return refusal(codes.DeadlineExceeded, server.ReasonUnsettled,
		fmt.Sprintf("the report of version %d of token %q goes on, but was not settled within the caller's deadline", version, name))
}

func draining() error {
	return refusal(codes.Unavailable, server.ReasonDraining, "this agent is shutting down; ask again")
}

// errDraining is the cause of the end of calls when the agent shuts down.
var errDraining = errors.New("shutting down")

// spoken returns the words of a broker, with all their details. False: no broker said anything, it is gRPC that gave up. Where the brokers do
// not let the agent have a token, its callers are told whom they mean: the agent asks nobody who he is.
func spoken(err error) (error, bool) {
	said, ok := errors.AsType[*tokenbroker.Error](err)
	if !ok {
		return nil, false
	}
	switch said.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		if said.Reason == "" {
			return nil, false
		}
	case codes.Unauthenticated, codes.PermissionDenied:
		p := said.GRPCStatus().Proto() // a copy
		p.Message = "the brokers refuse it to this agent: " + p.GetMessage()
		return status.FromProto(p).Err(), true
	default:
	}
	return said.GRPCStatus().Err(), true
}

// toStatus is the one place where an error of a handler becomes a status. Errors that are one already are meant for the caller.
func (s *service) toStatus(ctx context.Context, method string, err error) error {
	_, ready := err.(interface{ GRPCStatus() *status.Status })
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errDraining), errors.Is(err, tokenbroker.ErrClosed):
		return draining()
	case ready:
		return err
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller went away")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the caller's deadline has passed")
	}
	s.log.ErrorContext(ctx, "rpc failed", "method", method, "err", err)
	return status.Error(codes.Internal, "internal error; the agent's log has the cause")
}

// panicked makes an error of a recovered panic. Only the runtime's own texts are kept: any other value may contain a token.
func panicked(p any) error {
	if fault, ok := p.(runtime.Error); ok {
		return fmt.Errorf("panic: %w\n%s", fault, debug.Stack())
	}
	return fmt.Errorf("panic with a %T\n%s", p, debug.Stack())
}
