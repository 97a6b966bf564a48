package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxBody bounds the body of a request: ample for a token of 4096 bytes.
	maxBody = 16 << 10
	// maxBodies are awaited at once, and so many of them from one address: each occupies a goroutine, and nobody has been asked yet who
	// sends it. An ordinary body comes along with its request.
	maxBodies, maxBodiesByAddress = 2048, 512
	// bodyTime is how long a body may take to arrive, and answerTime how long an answer may take to be sent.
	bodyTime   = 10 * time.Second
	answerTime = 15 * time.Second
)

// answer is a response that knows what it became, for the metrics.
type answer struct {
	http.ResponseWriter
	asked *http.Request
	// path is the template of the path that was asked for.
	path string
	code int // 0: nothing was sent yet
}

// answering returns what ServeHTTP made of the response: grpc-gateway hands it on unchanged.
func answering(w http.ResponseWriter) *answer {
	return w.(*answer) //nolint:errcheck // a panic would be a fault of this package
}

// Unwrap gives http.ResponseController the way to the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader notes the status.
func (a *answer) WriteHeader(code int) {
	if a.code == 0 {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

// Write never fails but for bodies that HTTP forbids: a caller who hung up is nobody's error, and grpc-gateway would log it.
func (a *answer) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	if errors.Is(err, http.ErrBodyNotAllowed) {
		return n, err
	}
	return len(p), nil
}

// allow sets when the connection is given up if the answer has not been taken by then. Where there is no connection, as in tests of the
// handler alone, there is nothing to set.
func (a *answer) allow(d time.Duration) {
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(d))
}

// readBody reads the whole body, so that nothing waits for a slow sender later, and net/http notices from now on when the caller hangs
// up. Blocks for bodyTime at most.
func (g *Gateway) readBody(a *answer, r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	leave, ok := g.bodies.Enter(r.RemoteAddr)
	if !ok {
		a.Header().Set("Connection", "close")
		return errTooManyBodies
	}
	defer leave()
	control := http.NewResponseController(a.ResponseWriter)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(http.MaxBytesReader(a.ResponseWriter, r.Body, maxBody))
	if err != nil {
		a.Header().Set("Connection", "close") // and the deadline stays: net/http would wait for the rest before it answers
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return errTooLarge
		}
		return status.Error(codes.InvalidArgument, "the body did not arrive")
	}
	_ = control.SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// finish books the answer. A panic becomes an internal error if nothing was sent yet, and otherwise cuts the answer off; of its value only
// the type is logged, since the value may be anything.
func (g *Gateway) finish(a *answer, panicked any) {
	defer g.metrics.done(a)
	if panicked == nil {
		return
	}
	g.log.Error("request panicked", "path", a.path, "panic", fmt.Sprintf("%T", panicked), "stack", string(debug.Stack()))
	if a.code != 0 {
		panic(http.ErrAbortHandler)
	}
	a.fail(status.Error(codes.Internal, "internal error; the log has the cause"))
}
