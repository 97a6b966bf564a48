package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	generated "github.com/tokenbroker/tokenbroker/internal/gateway/generated/tokenbroker/v1"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// defaultWait is how long a call may take whose caller did not say, and maxWait what a caller may ask for in Grpc-Timeout.
	defaultWait = 30 * time.Second
	maxWait     = 60 * time.Second
)

// traceHeader names the trace that a request belongs to, as W3C defines it.
const traceHeader = "traceparent"

// watchPath and reportPath are bound here besides what proto/http.yaml binds.
const (
	watchPath  = "/v1/tokens/{name}:watch"
	reportPath = "/v1/tokens/{name}:reportInvalid"
)

// jsonPaths binds the paths under /v1. The header matchers let nothing through in either direction but which trace a request belongs to: what a
// caller may say about itself to the gRPC server is the header Authorization, which grpc-gateway always hands on.
func (g *Gateway) jsonPaths(conn grpc.ClientConnInterface) (*runtime.ServeMux, error) {
	nothing := func(string) (string, bool) { return "", false }
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newJSON()),
		runtime.WithIncomingHeaderMatcher(func(key string) (string, bool) { return traceHeader, strings.EqualFold(key, traceHeader) }),
		runtime.WithOutgoingHeaderMatcher(nothing),
		runtime.WithOutgoingTrailerMatcher(nothing),
		runtime.WithErrorHandler(handleError),
		runtime.WithRoutingErrorHandler(handleRoutingError),
		runtime.WithForwardResponseOption(describe),
		runtime.WithMiddlewares(prepare),
		// A method is what the request line says.
		runtime.WithDisablePathLengthFallback(), runtime.WithDisableHTTPMethodOverride(),
	)
	ctx := context.Background() // the generated functions do nothing with it
	if err := generated.RegisterTokenBrokerServiceHandlerClient(ctx, mux, g.broker); err != nil {
		return nil, err
	}
	if err := generated.RegisterAdminServiceHandlerClient(ctx, mux, tokenbrokerv1.NewAdminServiceClient(conn)); err != nil {
		return nil, err
	}
	if err := mux.HandlePath(http.MethodGet, watchPath, g.watch); err != nil {
		return nil, err
	}
	// Otherwise this would be a GET of the token "NAME:reportInvalid".
	err := mux.HandlePath(http.MethodGet, reportPath, func(w http.ResponseWriter, _ *http.Request, _ map[string]string) {
		answering(w).fail(errMethod)
	})
	return mux, err
}

// prepare notes which path it is, checks the query, and bounds the call, unless it is a stream.
func prepare(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		a := answering(w)
		if pattern, ok := runtime.HTTPPattern(r.Context()); ok {
			a.path = strings.ReplaceAll(pattern.String(), "=*", "")
		}
		if !utf8.ValidString(r.URL.Path) {
			a.fail(status.Error(codes.InvalidArgument, "the path is not UTF-8"))
			return
		}
		query, err := checkQuery(a.path, r.URL.RawQuery)
		if err != nil {
			a.fail(err)
			return
		}
		ctx := r.Context()
		if a.path != watchPath {
			wait := defaultWait
			if r.Header.Get("Grpc-Timeout") != "" {
				wait = maxWait // and what the header says, if that is less
			}
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, wait)
			defer cancel()
		}
		r = r.WithContext(ctx)
		address := *r.URL
		address.RawQuery = query
		r.URL = &address
		next(w, r, params)
	}
}

// errBody is said of every body that cannot be read.
var errBody = errors.New("the body is not the JSON of this call: see " + openAPIPath)

// checkQuery refuses parameters that nobody knows, where grpc-gateway would ignore a min_ttl that is misspelt. A duration may be written
// like 300s, as JSON has it, or like 5m.
func checkQuery(path, raw string) (string, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return "", status.Error(codes.InvalidArgument, "the query is malformed")
	}
	for key, values := range query {
		if path != tokenPath || key != "min_ttl" && key != "minTtl" {
			return "", status.Errorf(codes.InvalidArgument, "query: unknown parameter %q", key)
		}
		for i, text := range values {
			d, err := time.ParseDuration(text)
			if err != nil {
				return "", status.Error(codes.InvalidArgument, "min_ttl: write a duration such as 300s")
			}
			canonical, err := protojson.Marshal(durationpb.New(d))
			if err != nil {
				return "", fmt.Errorf("writing min_ttl: %w", err)
			}
			values[i] = strings.Trim(string(canonical), `"`)
		}
	}
	return query.Encode(), nil
}

// jsonMarshaler is the JSON mapping of Protocol Buffers, with fields that have their default value, and errors that quote nothing.
type jsonMarshaler struct{ runtime.JSONPb }

func newJSON() *jsonMarshaler {
	return &jsonMarshaler{runtime.JSONPb{
		MarshalOptions:   protojson.MarshalOptions{EmitDefaultValues: true},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
	}}
}

// NewDecoder returns a decoder of one message. Its errors are the same whatever was sent: protojson's quote what they stumble over,
// which may be a token.
func (m *jsonMarshaler) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		body, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("reading the body: %w", err)
		}
		if len(body) == 0 {
			return io.EOF
		}
		if message, ok := v.(proto.Message); !ok || m.UnmarshalOptions.Unmarshal(body, message) != nil {
			return errBody
		}
		return nil
	})
}
