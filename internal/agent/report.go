package agent

import (
	"context"
	"crypto/subtle"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// ReportInvalidToken implements the method of that name:
//
//	what was reported                         what happens
//	the version that is held                  nobody gets it any more, and the brokers are told until the matter is settled
//	an older version, or any other value      answered like GetToken
//	a newer version                           the brokers are told once, and the agent catches up before it answers
//
// It blocks until the matter is settled, or the caller's deadline.
func (s *service) ReportInvalidToken(
	ctx context.Context, req *tokenbrokerv1.ReportInvalidTokenRequest,
) (*tokenbrokerv1.ReportInvalidTokenResponse, error) {
	if err := checkReport(req); err != nil {
		return nil, err
	}
	if err := s.admit(req.GetName()); err != nil {
		return nil, err
	}
	waiting, cancel := patience(ctx, longWait)
	defer cancel()
	if err := s.report(waiting, req); err != nil {
		return nil, err
	}
	t, err := s.get(ctx, req.GetName(), 0)
	if err != nil {
		return nil, err
	}
	return &tokenbrokerv1.ReportInvalidTokenResponse{Token: t}, nil
}

func checkReport(req *tokenbrokerv1.ReportInvalidTokenRequest) error {
	switch by := req.GetReported().(type) {
	case *tokenbrokerv1.ReportInvalidTokenRequest_Version:
		if by.Version <= 0 {
			return badRequest("version", "must be positive")
		}
	case *tokenbrokerv1.ReportInvalidTokenRequest_AccessToken:
		if by.AccessToken == "" {
			return badRequest("access_token", "must not be empty")
		}
	default:
		return badRequest("reported", "version or access_token is required")
	}
	return nil
}

// report returns when there is something better than what was reported, the upstream vouches for it, or neither is to be had.
func (s *service) report(ctx context.Context, req *tokenbrokerv1.ReportInvalidTokenRequest) error {
	name := req.GetName()
	held, err := s.client.Token(ctx, name)
	if err != nil {
		return whatWasSaid(err, unreachable(name))
	}
	version := req.GetVersion()
	if by, ok := req.GetReported().(*tokenbrokerv1.ReportInvalidTokenRequest_AccessToken); ok {
		if subtle.ConstantTimeCompare([]byte(by.AccessToken), []byte(held.Value())) == 0 {
			return nil
		}
		version = held.Version()
	}
	_, err = s.client.InvalidVersion(ctx, name, version)
	switch {
	case err == nil:
		return nil
	case version > held.Version():
		return whatWasSaid(err, unreachable(name))
	default:
		return whatWasSaid(err, unsettled(name, version))
	}
}

// whatWasSaid returns the words of a broker, or something else where none said anything.
func whatWasSaid(err, otherwise error) error {
	if said, ok := spoken(err); ok {
		return said
	}
	return otherwise
}
