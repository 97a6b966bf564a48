package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/crowd"
	"github.com/tokenbroker/tokenbroker/internal/transport"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// Config says what a Gateway stands before.
type Config struct {
	// Conn leads to the gRPC server that answers. Required.
	Conn grpc.ClientConnInterface
	// Admission knows the callers of the WeChat-compatible paths. Default: nobody is known.
	Admission Admission
	// AnyMode lets a WeChat-compatible request of one mode be answered with a token of the other where the account has none of its own.
	AnyMode bool
	// Certificates are what Run serves with. Default: plaintext.
	Certificates *transport.Certificates
	// MaxConnectionAge is how long a caller may keep a connection. Default: for ever.
	MaxConnectionAge time.Duration
	// Logger gets what goes wrong here. Default: nothing is logged.
	Logger *slog.Logger
}

// Gateway is an http.Handler that turns requests into calls, and a prometheus.Collector of what it answered.
type Gateway struct {
	broker    tokenbrokerv1.TokenBrokerServiceClient
	admission Admission
	anyMode   bool
	log       *slog.Logger

	certificates *transport.Certificates
	maxAge       time.Duration

	mux      *runtime.ServeMux // the paths under /v1
	listings *listings
	metrics  metrics
	watches  *crowd.Crowd // the open watches
	bodies   *crowd.Crowd // the bodies that are awaited

	drainOnce sync.Once
	draining  chan struct{} // closed when watches are to end
}

// New returns a Gateway. It starts nothing: it can be used as a handler at once, or be run on a listener: see Run.
func New(cfg Config) (*Gateway, error) {
	if cfg.Admission == nil {
		cfg.Admission = NewClients(nil)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	conn := newOrderly(forwarding{cfg.Conn})
	g := &Gateway{
		broker: tokenbrokerv1.NewTokenBrokerServiceClient(conn), admission: cfg.Admission, anyMode: cfg.AnyMode, log: cfg.Logger,
		certificates: cfg.Certificates, maxAge: cfg.MaxConnectionAge,
		metrics: newMetrics(), watches: crowd.New(maxWatches, maxWatchesOfOne), bodies: crowd.New(maxBodies, maxBodiesByAddress), draining: make(chan struct{}),
	}
	g.listings = &listings{list: g.broker.ListTokens, of: map[credentials]*accounts{}}
	var err error
	if g.mux, err = g.jsonPaths(conn); err != nil {
		return nil, fmt.Errorf("binding paths: %w", err)
	}
	return g, nil
}

// ServeHTTP answers one request. It blocks as long as the call behind it does: see the package documentation. What it listens on is
// not known here, so any Host will do: see Run.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.serve(w, r, false) }

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, loopback bool) {
	a := &answer{ResponseWriter: w, asked: r, path: unknownPath}
	defer func() { g.finish(a, recover()) }()
	header := a.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	a.allow(maxWait + answerTime)
	if g.aged(r) {
		header.Set("Connection", "close")
	}
	switch err := g.readBody(a, r); {
	case errors.Is(err, errTooManyBodies):
		g.refuse(a, err, passedOn["45011"])
		return
	case err != nil:
		g.refuse(a, err, errDataFormat)
		return
	}
	if err := foreign(r, loopback); err != nil {
		g.refuse(a, err, &errcode{40066, "invalid url: " + err.Error()})
		return
	}
	from, err := g.certificates.CallerOf(r)
	if err != nil {
		header.Set("Connection", "close") // the next may begin with a certificate that is valid
		g.refuse(a, status.Error(codes.Unauthenticated, err.Error()), errSecret)
		return
	}
	r = r.WithContext(comingFrom(r.Context(), from))
	switch {
	case isWeChatPath(r.URL.Path):
		g.serveWeChat(a, r)
	case r.URL.Path == openAPIPath:
		serveOpenAPI(a, r)
	default:
		g.mux.ServeHTTP(a, asGet(r))
	}
}

// refuse answers a request that is looked at no further, in the manner of its path.
func (g *Gateway) refuse(a *answer, err, compatible error) {
	if isWeChatPath(a.asked.URL.Path) {
		g.answerWeChat(a, compatible)
		return
	}
	a.fail(err)
}

// asGet makes a GET of a HEAD: net/http leaves out the body of the answer.
func asGet(r *http.Request) *http.Request {
	if r.Method != http.MethodHead {
		return r
	}
	get := r.WithContext(r.Context())
	get.Method = http.MethodGet
	return get
}
