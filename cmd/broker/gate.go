package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/audit"
	"github.com/tokenbroker/tokenbroker/internal/guard"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// gate asks callers who they are, decides what they may have, and records it. A nil gate stands open.
type gate struct {
	guard         *guard.Guard
	authenticator *access.Authenticator
	// audit is nil where nothing is recorded.
	audit *audit.Log
}

// newGate returns the gate of a configuration, nil if callers are not asked who they are. Its metrics go to registry.
func newGate(cfg *config, registry *prometheus.Registry, log *slog.Logger) (*gate, error) {
	if !cfg.guarded() {
		return nil, nil
	}
	g := &gate{}
	doors := guard.Config{Origin: transport.OriginOf}
	if cfg.Audit.on() {
		g.audit = audit.New(audit.Config{
			File: cfg.Audit.File, Out: os.Stdout, Replica: cfg.Replica.ID, Refuse: cfg.Audit.Refuse, Logger: log.With("component", "audit"),
		})
		doors.Audit = g.audit
		if err := registry.Register(g.audit); err != nil {
			return nil, fmt.Errorf("registering the audit log's metrics: %w", err)
		}
	}
	methods := cfg.Authentication.Methods
	methods.Logger = log.With("component", "access")
	var err error
	if g.authenticator, err = access.NewAuthenticator(methods); err != nil {
		return nil, fmt.Errorf("reading authentication: %w", err)
	}
	policy, err := access.NewPolicy(cfg.Policy.Rules)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	g.guard = guard.New(doors, g.rules(policy, cfg.Limits))
	if err := registry.Register(g.guard); err != nil {
		return nil, fmt.Errorf("registering the guard's metrics: %w", err)
	}
	return g, nil
}

// rules are those of one configuration, all of them: see access.Authenticator.Present.
func (g *gate) rules(policy *access.Policy, limits limitsConfig) guard.Rules {
	return guard.Rules{Authenticator: g.authenticator.Present(), Policy: policy, Limits: limits.ofCallers()}
}

// ofCallers are the limits on identities.
func (c limitsConfig) ofCallers() guard.Limits {
	return guard.Limits{Rate: c.Rate, Burst: c.Burst, Streams: c.Streams, Calls: c.Calls}
}

// guarding is the gate as the server wants it: no interface that holds nil.
func (g *gate) guarding() server.Guard {
	if g == nil {
		return nil
	}
	return g.guard
}

// run keeps issuers' keys and writes the audit log, until ctx ends. It ends after everything that is recorded.
func (g *gate) run(ctx context.Context) error {
	if g == nil {
		return nil
	}
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return g.authenticator.Run(ctx) })
	if g.audit != nil {
		parts.Go(func() error { return g.audit.Run(ctx) })
	}
	return parts.Wait()
}

// errGate is why a reload changes nothing: a replica that stood open has promised nobody anything, and one that asked shall not stop asking
// because some lines were lost.
var errGate = errors.New("whether callers are asked who they are is decided at the start: restart the replica, or give back authentication, policy or clients")

// reconfigure puts other rules in force, for calls under way as well. After an error all is as before.
func (g *gate) reconfigure(cfg *config) error {
	switch {
	case (g != nil) != cfg.guarded():
		return errGate
	case g == nil:
		return nil
	}
	policy, err := access.NewPolicy(cfg.Policy.Rules)
	if err != nil {
		return fmt.Errorf("reading the policy: %w", err)
	}
	if err := g.authenticator.Configure(cfg.Authentication.Methods); err != nil {
		return fmt.Errorf("reading authentication: %w", err)
	}
	g.guard.Replace(g.rules(policy, cfg.Limits))
	return nil
}

// reopen has the audit log's file opened anew.
func (g *gate) reopen() {
	if g != nil && g.audit != nil {
		g.audit.Reopen()
	}
}

// metricsMethod is reading the metrics, which tell the names of all tokens, and how they do.
var metricsMethod = server.Method{Name: "/metrics", Verb: access.Status}

// metrics lets through who may see the status of all tokens.
func (g *gate) metrics(certificates *transport.Certificates, next http.Handler) http.Handler {
	if g == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin, err := certificates.OriginOf(r)
		if err = g.guard.Authorize(r.Context(), origin, err, metricsMethod); err != nil {
			refuse(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuse answers with a refusal of the guard.
func refuse(w http.ResponseWriter, err error) {
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(info.GetRetryDelay().AsDuration().Seconds()))))
		}
	}
	switch st.Code() {
	case codes.Unauthenticated:
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, st.Message(), http.StatusUnauthorized)
	case codes.PermissionDenied:
		http.Error(w, st.Message()+`; metrics want a certificate or bearer token that a rule gives the verb status, with tokens: ["*"]`, http.StatusForbidden)
	case codes.ResourceExhausted:
		http.Error(w, st.Message(), http.StatusTooManyRequests)
	case codes.Unavailable:
		http.Error(w, st.Message(), http.StatusServiceUnavailable)
	default: // it is not meant for callers
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}
