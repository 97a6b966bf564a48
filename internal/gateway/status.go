package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
)

// statusError is an error whose HTTP status does not follow from its code.
type statusError struct {
	http int
	*status.Status
}

// Error returns the message.
func (e *statusError) Error() string { return e.Message() }

// GRPCStatus makes it a status.
func (e *statusError) GRPCStatus() *status.Status { return e.Status }

func httpError(code int, as codes.Code, message string) error {
	return &statusError{code, status.New(as, message)}
}

var (
	errTooLarge = httpError(http.StatusRequestEntityTooLarge, codes.ResourceExhausted, fmt.Sprintf("the body has more than %d bytes", maxBody))
	// errTooManyBodies is for a body that is not waited for.
	errTooManyBodies = retryLater(codes.ResourceExhausted, "too many requests are being sent slowly; send the body along with its request", time.Second)
	errNoPath        = httpError(http.StatusNotFound, codes.NotFound, "no such path; "+openAPIPath+" describes those that there are")
	errMethod        = httpError(http.StatusMethodNotAllowed, codes.Unimplemented, "this path does not know that method")
)

// fail answers with an error as google.rpc.Status in JSON. What is said of when to come back is in a header, too. Nothing may have been
// sent before.
func (a *answer) fail(err error) {
	st := status.Convert(err)
	code := runtime.HTTPStatusFromCode(st.Code())
	if own, ok := errors.AsType[*statusError](err); ok {
		code = own.http
	}
	header := a.Header()
	if delay, ok := retryDelay(st); ok {
		header.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(delay.Seconds())), 10))
	}
	switch code {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		header.Set("Allow", allowed(a.asked.URL.Path))
	}
	header.Del("Etag")
	header.Set("Content-Type", "application/json")
	a.WriteHeader(code)
	_, _ = a.Write(statusJSON(st))
}

// statusJSON is the status with its details; without them, if one is of a kind that is not known here.
func statusJSON(st *status.Status) []byte {
	text, err := protojson.Marshal(st.Proto())
	if err != nil {
		text, _ = protojson.Marshal(status.New(st.Code(), st.Message()).Proto()) // two fields: cannot fail but for a message that is not UTF-8
	}
	return text
}

// retryDelay is what RetryInfo says.
func retryDelay(st *status.Status) (time.Duration, bool) {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return 0, false
}

// retryLater is a refusal that says when to come back.
func retryLater(code codes.Code, message string, delay time.Duration) error {
	st, err := status.New(code, message).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	if err != nil {
		return status.Error(code, message)
	}
	return st.Err()
}

// allowed are the methods of a path that exists, for the header Allow.
func allowed(path string) string {
	switch {
	case strings.HasSuffix(path, ":reportInvalid"):
		return http.MethodPost
	case strings.HasSuffix(path, ":watch"):
		return http.MethodGet
	default:
		return http.MethodGet + ", " + http.MethodHead
	}
}

// handleError is grpc-gateway's error handler.
func handleError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	answering(w).fail(err)
}

// handleRoutingError is what grpc-gateway calls when no path, or no method of the path, fits.
func handleRoutingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, code int) {
	err := errNoPath
	if code == http.StatusMethodNotAllowed {
		err = errMethod
	}
	answering(w).fail(err)
}
