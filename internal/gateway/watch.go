package gateway

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const (
	// maxWatches bounds the open streams of events. They share one connection with all other requests, which has room for 1024.
	maxWatches = 512
	// maxWatchesOfOne bounds those of one address.
	maxWatchesOfOne = maxWatches / 4 * 3
	// heartbeat is how often a stream without events sends a comment, so that proxies and callers know that it lives.
	heartbeat = 15 * time.Second
	// openTime is how long an error of the call may take to become a status instead of an event: there is no other sign that a stream
	// has opened whose token was never fetched.
	openTime = time.Second
	// readTime is how long a reader may take for one event.
	readTime = 30 * time.Second
)

// watch answers with server-sent events:
//
//	event: token     id is the version, data a WatchTokenResponse as JSON: ACTIVE or SUSPECT
//	event: expired   the same, without access_token: nothing can be handed out
//	event: end       data is a google.rpc.Status as JSON: why the stream ends
//
// It blocks until the caller goes, the call ends, or the gateway drains. While a reader is slow nothing is kept for it but the newest
// message.
func (g *Gateway) watch(w http.ResponseWriter, r *http.Request, params map[string]string) {
	a := answering(w)
	if a.asked.Method != http.MethodGet {
		a.fail(errMethod) // HEAD of a stream that never ends
		return
	}
	leave, ok := g.watches.Enter(r.RemoteAddr)
	if !ok {
		a.fail(retryLater(codes.ResourceExhausted,
			fmt.Sprintf("%d watches are open already, or %d of this address; ask another replica", maxWatches, maxWatchesOfOne), 5*time.Second))
		return
	}
	defer leave()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	ctx, err := runtime.AnnotateContext(ctx, g.mux, r, tokenbrokerv1.TokenBrokerService_WatchToken_FullMethodName)
	if err != nil {
		a.fail(err)
		return
	}
	n, err := g.follow(ctx, params["name"])
	if err != nil {
		a.fail(err)
		return
	}
	defer func() { cancel(); <-n.ended }()
	if err := n.opened(); err != nil {
		a.fail(err)
		return
	}
	g.metrics.watches.Inc()
	defer g.metrics.watches.Dec()
	g.tell(ctx, events{a, http.NewResponseController(a.ResponseWriter)}, n)
}

// tell writes events until the stream or its reader has ended.
func (g *Gateway) tell(ctx context.Context, e events, n *news) {
	if !e.begin() {
		return
	}
	quiet := time.NewTicker(heartbeat)
	defer quiet.Stop()
	for {
		var written bool
		select {
		case m, open := <-n.newest:
			if !open {
				e.end(n.err)
				return
			}
			written = e.change(m.aged())
			quiet.Reset(heartbeat)
		case <-quiet.C:
			written = e.send(": \n\n")
		case <-g.draining:
			e.end(errDraining)
			return
		case <-ctx.Done():
			return
		}
		if !written {
			return
		}
	}
}

// news is what a WatchToken stream said last.
type news struct {
	// newest holds the last message that was not taken yet, and is closed when the stream has ended; err says why then.
	newest chan received
	err    error
	// begun is closed with the first message, and ended with newest.
	begun, ended chan struct{}
}

// received is a message and when it came.
type received struct {
	*tokenbrokerv1.WatchTokenResponse
	at time.Time
}

// aged is the message as it is to be told now: it may have lain here while its reader was busy with the one before.
func (r received) aged() *tokenbrokerv1.WatchTokenResponse {
	t := r.GetToken()
	if t.GetTtl() == nil {
		return r.WatchTokenResponse
	}
	left := max(t.GetTtl().AsDuration()-time.Since(r.at), 0)
	t.Ttl = durationpb.New(left)
	if left == 0 && t.GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
		t.State = tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT
	}
	return r.WatchTokenResponse
}

// follow opens the stream and receives from it, whoever listens, until ctx ends.
func (g *Gateway) follow(ctx context.Context, name string) (*news, error) {
	stream, err := g.broker.WatchToken(ctx, &tokenbrokerv1.WatchTokenRequest{Name: name})
	if err != nil {
		return nil, err
	}
	n := &news{newest: make(chan received, 1), begun: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(n.ended)
		defer close(n.newest)
		begin := sync.OnceFunc(func() { close(n.begun) })
		for {
			m, err := stream.Recv()
			if err != nil {
				n.err = err
				return
			}
			select {
			case <-n.newest: // nobody took it, and nobody needs it any more
			default:
			}
			n.newest <- received{m, time.Now()} // never blocks: nobody else sends
			begin()
		}
	}()
	return n, nil
}

// opened waits for a first message, openTime at most, or returns the error that came in its place.
func (n *news) opened() error {
	late := time.NewTimer(openTime)
	defer late.Stop()
	select {
	case <-n.begun:
	case <-late.C:
	case <-n.ended:
		if len(n.newest) == 0 {
			return n.err
		}
	}
	return nil
}

// events writes server-sent events.
type events struct {
	*answer
	control *http.ResponseController
}

// begin sends the header, and how long to wait before connecting anew.
func (e events) begin() bool {
	e.Header().Set("Content-Type", "text/event-stream")
	e.Header().Set("X-Accel-Buffering", "no") // nginx would collect events
	e.WriteHeader(http.StatusOK)
	return e.send(fmt.Sprintf("retry: %d\n\n", 1000+rand.IntN(2000)))
}

// change tells of a message.
func (e events) change(m *tokenbrokerv1.WatchTokenResponse) bool {
	kind := "token"
	if m.GetToken().GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED {
		kind = "expired"
	}
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		e.end(status.Error(codes.Internal, "internal error"))
		return false
	}
	return e.send(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", m.GetToken().GetVersion(), kind, data))
}

// end tells why there is nothing more.
func (e events) end(err error) {
	e.send(fmt.Sprintf("event: end\ndata: %s\n\n", statusJSON(status.Convert(err))))
}

// send writes one block and pushes it out. False: the reader is gone, or too slow. Blocks for readTime at most.
func (e events) send(block string) bool {
	e.allow(readTime)
	if _, err := io.WriteString(e.ResponseWriter, block); err != nil {
		return false
	}
	return e.control.Flush() == nil
}

// errDraining ends the streams of a gateway that shuts down.
var errDraining = retryLater(codes.Unavailable, "this replica is shutting down; ask another", time.Second)
