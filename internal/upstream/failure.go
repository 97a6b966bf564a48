package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// unwritten is the failure of an attempt of which not one byte was handed to the socket. given is the caller's context: when that
// has ended, nothing is held against the upstream that was not certain before. Contexts are asked, not err, which may be the cause
// that a context's owner gave.
func unwritten(given context.Context, v verdict, err error) *token.Failure {
	f := &token.Failure{Outcome: token.OutcomeNone, Class: token.Unreachable, Code: "not_written", Message: quotable(err)}
	switch {
	case v.held != nil:
		f.Class, f.Meaning, f.Message = token.Transient, "the request was held back before its first byte", v.held.Error()
	case errors.Is(given.Err(), context.Canceled):
		f.Class, f.Meaning = token.Transient, "the attempt was given up before the request's first byte"
	case v.stage == dialling:
		f.Code, f.Meaning = "dial", "the upstream could not be connected to"
		f.Remedy = "Check this replica's network, name resolution, firewall and proxy settings."
	case v.stage == proxying:
		f.Code, f.Meaning = "proxy", "the proxy did not connect to the upstream"
		f.Remedy = "Check the proxy that HTTPS_PROXY or HTTP_PROXY names, and whether it lets this replica through."
		f.Message = quotableEarly(err)
	case v.stage == securing:
		f.Code, f.Meaning = "tls", "the TLS handshake with the upstream failed"
		f.Remedy = "Check this replica's clock, its root certificates, and whether something between intercepts TLS."
		f.Message = quotableEarly(err)
	case given.Err() != nil:
		f.Class, f.Meaning = token.Transient, "the time was up before the request's first byte"
	case err == nil:
		f.Class, f.Meaning = token.Bug, "the upstream answered before it was asked"
	default:
		f.Meaning = "the connection was lost before the request's first byte"
	}
	return f
}

// unanswered is the failure of an attempt that was written and brought no whole answer. ctx is the attempt's.
func unanswered(ctx context.Context, v verdict, err error) *token.Failure {
	f := &token.Failure{Outcome: token.OutcomeUnknown, Class: token.Transient, Written: true, Message: quotable(err)}
	var network net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		f.Code, f.Meaning = "canceled", "the attempt was given up while waiting for the answer"
	case ctx.Err() != nil, errors.As(err, &network) && network.Timeout():
		f.Code, f.Meaning = "timeout", "no whole answer came in time"
	case !v.answered:
		f.Code, f.Meaning = "connection_lost", "the connection was lost before an answer came"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), f.Message != "":
		f.Code, f.Meaning = "truncated", "the connection was lost within the answer"
	default:
		f.Class, f.Code, f.Meaning = token.Bug, "malformed", "the answer was not HTTP"
		f.Remedy = malformedRemedy
	}
	return f
}

const malformedRemedy = "Check the base URL, and what stands between this replica and the upstream."

func tooLarge() *token.Failure {
	return &token.Failure{
		Outcome: token.OutcomeUnknown, Class: token.Bug, Written: true, Code: "too_large",
		Meaning: "the answer was longer than " + strconv.Itoa(MaxAnswerSize) + " bytes", Remedy: malformedRemedy,
	}
}

// unasked is the failure of a request that could not even be attempted.
func unasked(class token.Class, code, meaning, remedy string) *token.Failure {
	return &token.Failure{Outcome: token.OutcomeNone, Class: class, Code: code, Meaning: meaning, Remedy: remedy}
}

// quotable returns what the operating system or the resolver said, or nothing. Other errors are not quoted: net/http's contain what
// the peer sent, and that may contain a token.
func quotable(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) {
		return ""
	}
	if op.Op == "proxyconnect" { // net/http's wrapping of anything that went wrong on the way to a proxy
		return quotable(op.Err)
	}
	return op.Error()
}

// quotableEarly also returns what a proxy said or what is wrong with a certificate. Only for an attempt that was not written: no
// peer had anything to echo.
func quotableEarly(err error) string {
	if text := quotable(err); text != "" || err == nil {
		return text
	}
	return err.Error()
}

// StatusFailure is the failure of an answer with any status but 200, for upstreams that answer 200 even when they refuse. Whatever
// such an answer means, it came from something between or from an upstream in trouble, so the outcome is unknown. The code is
// "http_" and the status. The body is not looked at.
func StatusFailure(a Answer) *token.Failure {
	f := &token.Failure{
		Outcome: token.OutcomeUnknown, Class: token.Transient, Written: true, Code: "http_" + strconv.Itoa(a.Status),
		Meaning: "the upstream answered with HTTP status " + strconv.Itoa(a.Status), RetryAfter: a.RetryAfter,
	}
	switch {
	case a.Status == http.StatusTooManyRequests:
		f.Class = token.MinuteQuota
		f.RetryAfter = max(f.RetryAfter, time.Minute)
	case a.Status >= 500:
	case a.Status >= 300:
		f.Class, f.Remedy = token.Human, malformedRemedy
	default:
		f.Class, f.Remedy = token.Bug, malformedRemedy
	}
	return f
}
