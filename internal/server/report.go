package server

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// catchUpWait is how long a report waits for this replica to hear of the version that it names. The view is proved current every
// one to two seconds.
const catchUpWait = 3 * time.Second

// ReportInvalidToken implements the method of that name. A report of any version but the current one is answered like GetToken.
//
// A value that this replica fetched alone is unknown to the leader, which cannot ask about it. In its place the leader is told of the
// version, and brings all replicas to its own value, or a newer one, under a version above; if the upstream refuses that, too, it can be
// reported.
//
// After the leader's answer the token is read anew like in GetToken, too: what it confirmed may still be something that this replica
// cannot promise.
func (s *Server) ReportInvalidToken(
	ctx context.Context, req *tokenbrokerv1.ReportInvalidTokenRequest,
) (*tokenbrokerv1.ReportInvalidTokenResponse, error) {
	t, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	waiting, cancel := patience(ctx)
	defer cancel()
	version, err := s.reported(waiting, t, req)
	if err != nil {
		return nil, err
	}
	if r := t.Read(); version > 0 && (version == r.Record.Version || r.Local && version == t.Version()) {
		request := token.Request{Kind: token.RequestReport, Name: t.Name(), Version: version}
		if r.Local && version == r.Record.Version {
			request.Kind = token.RequestFloor
		}
		if err := s.pursue(waiting, request, t.Changed, newerThan(t, r.Record.Version)); err != nil {
			return nil, s.explain(err, fmt.Sprintf("the report of version %d of token %q", version, t.Name()), t)
		}
	}
	if t.Removed() {
		return nil, s.removed(t.Name())
	}
	r := t.Read()
	if !promises(r, 0) {
		if r, err = s.settle(ctx, t, 0); err != nil {
			return nil, err
		}
	}
	return &tokenbrokerv1.ReportInvalidTokenResponse{Token: new(tokenMessage).fillWithValue(t, r)}, nil
}

// newerThan looks for a version after the given one. A token that was removed has nothing more to wait for.
func newerThan(t *view.Token, version int64) func() bool {
	return func() bool { return t.Read().Record.Version > version || t.Removed() }
}

// reported returns the version that the caller means; 0 for a value that is not the current one. A value that was current once, and
// one that never was, are the same to this replica: it keeps no old values. Blocks like catchUp.
func (s *Server) reported(ctx context.Context, t *view.Token, req *tokenbrokerv1.ReportInvalidTokenRequest) (int64, error) {
	switch by := req.GetReported().(type) {
	case *tokenbrokerv1.ReportInvalidTokenRequest_Version:
		return by.Version, s.known(ctx, t, by.Version)
	case *tokenbrokerv1.ReportInvalidTokenRequest_AccessToken:
		if by.AccessToken == "" {
			return 0, badRequest("access_token", "must not be empty")
		}
		current := t.Read().Record
		if subtle.ConstantTimeCompare([]byte(by.AccessToken), []byte(current.Value.Reveal())) == 1 {
			return current.Version, nil
		}
		return 0, nil
	default:
		return 0, badRequest("reported", "version or access_token is required")
	}
}

// known checks a version that a caller named. Blocks like catchUp.
func (s *Server) known(ctx context.Context, t *view.Token, version int64) error {
	if version <= 0 {
		return badRequest("version", "must be positive")
	}
	return s.catchUp(ctx, t, version)
}

// catchUp waits until the view holds the version that a caller named. The caller may have it from a replica that is ahead of this
// one. Only once the view was proved current *since the call arrived* is it certain that there is no such version; a replica that
// cannot prove that leaves the answer to another.
func (s *Server) catchUp(ctx context.Context, t *view.Token, version int64) error {
	arrived := time.Now()
	if r := t.Read(); r.Record.Version >= version {
		return nil
	} else if !r.InSync {
		return errLagging
	}
	waiting, cancel := context.WithTimeoutCause(ctx, catchUpWait, errPatience)
	defer cancel()
	var proved bool
	_, err := s.await(waiting, t, func(r view.Reading) bool {
		proved = s.provedSince(arrived)
		return proved || r.Record.Version >= version
	})
	current := t.Read().Record.Version // after the proof: what was true then has been applied by now
	switch {
	case current >= version:
		return nil
	case proved && view.MayBeLocal(version, current):
		return nil // of another replica, which went alone
	case proved:
		return badRequest("version", fmt.Sprintf("%d has never been handed out, the newest is %d", version, current))
	case errors.Is(err, errPatience):
		return errLagging
	default:
		return err
	}
}

// provedSince reports whether the view was proved current by a read that was sent after an instant. The view counts time
// pessimistically, so that a proof never looks younger than it is.
func (s *Server) provedSince(instant time.Time) bool {
	elapsed := time.Since(instant) // before Age: a pause in between must not make the proof look younger
	age, ok := s.view.Age()
	return ok && age < elapsed
}
