package agent

import (
	"context"
	"crypto/subtle"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// ReportInvalidToken implements the method of that name:
//
//	what was reported                         what happens
//	the version that is held                  nobody gets it any more, and the brokers are told until the matter is settled
//	an older version, or any other value      answered like GetToken
//	a newer version                           the report is passed on, and the agent catches up before it answers
//
// It blocks until the matter is settled, or the caller's deadline.
func (s *service) ReportInvalidToken(
	ctx context.Context, req *tokenbrokerv1.ReportInvalidTokenRequest,
) (*tokenbrokerv1.ReportInvalidTokenResponse, error) {
	if err := checkReport(req); err != nil {
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
	if err := checkName(req.GetName()); err != nil {
		return err
	}
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
	switch {
	case err != nil:
		return whatWasSaid(err, unreachable(name))
	case req.GetVersion() > held.Version():
		return s.passOn(ctx, req)
	case !means(req, held):
		return nil
	}
	if _, err := s.client.Invalid(ctx, held); err != nil {
		return whatWasSaid(err, unsettled(name, held.Version()))
	}
	return nil
}

// means reports whether it is the held token that was reported. A value is compared in constant time.
func means(req *tokenbrokerv1.ReportInvalidTokenRequest, held tokenbroker.Token) bool {
	if by, ok := req.GetReported().(*tokenbrokerv1.ReportInvalidTokenRequest_AccessToken); ok {
		return subtle.ConstantTimeCompare([]byte(by.AccessToken), []byte(held.Value())) == 1
	}
	return req.GetVersion() == held.Version()
}

// passOn tells a broker of a version that is newer than what is held: the caller has it from elsewhere. The answer is not passed on, since
// what is handed out must be what everybody here gets; the agent waits until it holds that, too.
func (s *service) passOn(ctx context.Context, req *tokenbrokerv1.ReportInvalidTokenRequest) error {
	answer, err := s.broker.ReportInvalidToken(ctx, req)
	if err != nil {
		if st := status.Convert(err); len(st.Details()) == 0 && (st.Code() == codes.Unavailable || st.Code() == codes.DeadlineExceeded) {
			return unreachable(req.GetName())
		}
		return err
	}
	for held, err := range s.client.Watch(ctx, req.GetName()) {
		if err == nil && held.Version() >= answer.GetToken().GetVersion() {
			return nil
		}
	}
	return lagging()
}

// whatWasSaid returns the words of a broker, or something else where none said anything.
func whatWasSaid(err, otherwise error) error {
	if said, ok := spoken(err); ok {
		return said
	}
	return otherwise
}
