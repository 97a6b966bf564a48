package traffic

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Answered completes an event with what a call brought. tok is nil where the call failed or brings no token.
func Answered(e history.Event, tok *tokenbrokerv1.Token, err error) history.Event {
	s := status.Convert(err)
	e.Code = s.Code().String()
	if s.Code() != codes.OK {
		e.Detail = s.Message()
		for _, detail := range s.Details() {
			if info, ok := detail.(*errdetails.ErrorInfo); ok {
				e.Reason = info.GetReason()
			}
		}
		return e
	}
	if tok != nil {
		e.Answer = &history.Answer{
			Version: tok.GetVersion(), Value: tok.GetAccessToken(), State: states[tok.GetState()], TTL: tok.GetTtl().AsDuration(),
			Local: tok.GetLocal(),
		}
	}
	return e
}

// states are the words of the history for what a replica says that it can promise.
var states = map[tokenbrokerv1.TokenState]string{
	tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE:  "active",
	tokenbrokerv1.TokenState_TOKEN_STATE_SUSPECT: "suspect",
	tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED: "expired",
}
