package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/server"
)

// Exit codes. Scripts rely on them: they do not change their meaning. 64 is EX_USAGE, so that 1 and 2 stay free for states. Commands whose answer is a state (status, healthcheck) document their own.
const (
	exitOK          = 0
	exitFailed      = 1
	exitNotFound    = 2
	exitUnavailable = 3
	exitExhausted   = 4
	exitDeadline    = 5
	exitUnknown     = 6
	exitDenied      = 7
	exitUsage       = 64
	exitInterrupted = 130
)

const exitHelp = `Exit codes, where a command does not document its own:
  0  done
  1  failed for another reason than those below
  2  there is no token of that name
  3  no broker answers, or no living token can be promised now
  4  quota, spacing or a limit of calls do not allow it now; the message says when to come back
  5  the time given by --timeout was not enough
  6  the broker does not know who is calling, or does not accept what should prove it
  7  whom it takes the caller for may not do that
  64 the command line is wrong
  130 interrupted`

// outcome is how a command ends that does not end well.
type outcome struct {
	code int
	// text explains it on standard error; nothing is printed if empty.
	text string
}

func (o *outcome) Error() string { return o.text }

// failed explains an error of a command.
func failed(command string, err error) *outcome {
	call := (*callError)(nil)
	var wrong problems
	switch {
	case errors.As(err, &wrong):
		return &outcome{code: exitFailed, text: command + ": the configuration cannot be used\n" + wrong.Error()}
	case errors.As(err, &call):
		return &outcome{code: call.exitCode(), text: command + ": " + call.explain()}
	case errors.Is(err, context.Canceled):
		return &outcome{code: exitInterrupted, text: command + ": interrupted"}
	default:
		return &outcome{code: exitFailed, text: command + ": " + err.Error()}
	}
}

// callError is a call to a broker that failed.
type callError struct {
	// Servers are those that were asked, and Peer the one that answered; empty if none did.
	servers  []string
	peer     string
	security *security
	status   *status.Status
}

func (e *callError) Error() string { return e.status.Message() }

// unreachable: no broker took the call, or none was there any more when it was to be repeated.
func (e *callError) unreachable() bool {
	waited := e.peer == "" || strings.Contains(e.status.Message(), "latest balancer error")
	return waited && (e.status.Code() == codes.DeadlineExceeded || e.status.Code() == codes.Unavailable)
}

// idle: a broker was reached, and turned the call away before it was sent, because its health is NOT_SERVING.
func (e *callError) idle() bool {
	return e.unreachable() && strings.Contains(e.status.Message(), "health check failure")
}

// remedyFor says what to do where the broker that answers cannot, by the reason that it gave; empty where that says nothing.
func remedyFor(reason string) string {
	switch reason {
	case server.ReasonStoreAway:
		return "ask another replica by --server, and see why this one does not reach etcd: its log says what fails"
	case server.ReasonLagging:
		return "ask another replica by --server"
	case server.ReasonNoLeader:
		return `ask again in some seconds; if it lasts, the replicas' logs say why none is elected ("standing for election failed")`
	case server.ReasonAuditFull:
		return "ask another replica by --server, and free space for this one's audit log: it hands out nothing that it cannot write down"
	case server.ReasonIssuerAway:
		return `ask again, or another replica by --server; if it lasts, this one's log says why the issuer's keys cannot be got ("the issuer's keys cannot be got")`
	case server.ReasonCallerLimit:
		return "call less often: tokens may be kept until their refresh_after; or have limits raised in the broker's configuration"
	default:
		return ""
	}
}

// remedy says what a caller can do whom the broker does not let in, or who asked somebody else than a broker.
func (e *callError) remedy() string {
	refused := e.status.Code() == codes.Unauthenticated || e.status.Code() == codes.PermissionDenied
	switch {
	case refused && isSocket(e.servers[0]):
		return "see to the agent's own --cert-file or --bearer-token-file, and to what the brokers' policy allows to the agent"
	case e.status.Code() == codes.Unauthenticated && e.security.anonymous():
		return "show who you are: --cert-file and --key-file, or --bearer-token-file"
	case e.status.Code() == codes.Unauthenticated:
		return "see that the certificate or token has not expired, and that the broker's authentication knows its authority, issuer or line"
	case e.status.Code() == codes.PermissionDenied && e.security.anonymous():
		return "show who you are: --cert-file and --key-file, or --bearer-token-file; broker policy test tells at the broker what a caller may do"
	case e.status.Code() == codes.PermissionDenied:
		return "have a rule for it added to the broker's policy; broker policy test tells there which one decides"
	case e.status.Code() == codes.Unimplemented && isSocket(e.servers[0]):
		return "this is about one broker: name it by --server host:port. An agent only hands out tokens"
	case strings.Contains(e.status.Message(), "unexpected HTTP status code"):
		return "see that --server names the broker's grpc.listen (by default port 7700), not its http.listen or gateway.listen"
	default:
		return ""
	}
}

func (e *callError) exitCode() int {
	switch {
	case e.unreachable():
		return exitUnavailable
	case e.status.Code() == codes.Canceled:
		return exitInterrupted
	}
	switch e.status.Code() {
	case codes.NotFound:
		return exitNotFound
	case codes.Unavailable:
		return exitUnavailable
	case codes.ResourceExhausted:
		return exitExhausted
	case codes.DeadlineExceeded:
		return exitDeadline
	case codes.Unauthenticated:
		return exitUnknown
	case codes.PermissionDenied:
		return exitDenied
	default:
		return exitFailed
	}
}

// passing reports whether the same call may succeed later.
func (e *callError) passing() bool {
	c := e.status.Code()
	return c == codes.ResourceExhausted || c == codes.Unavailable || c == codes.DeadlineExceeded
}

// pause is how long the broker wants the caller to wait before the next try, a second at least.
func (e *callError) pause() time.Duration {
	for _, detail := range e.status.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return max(retry.GetRetryDelay().AsDuration(), time.Second)
		}
	}
	return time.Second
}

// brief says what happened in one line.
func (e *callError) brief() string {
	if e.unreachable() {
		return "no broker answers"
	}
	return e.what()
}

// explain says what happened, where, and what the broker knows of it.
func (e *callError) explain() string {
	var lines []string
	line := func(name, text string) {
		if text != "" {
			lines = append(lines, fmt.Sprintf("  %-8s %s", name, text))
		}
	}
	what := e.what()
	switch {
	case e.idle():
		what = "no broker that was asked serves at the moment"
		line("server", strings.Join(e.servers, ", "))
		line("cause", "it runs, and says NOT_SERVING: since its start it has reached neither etcd nor a token, or it is shutting down")
		line("remedy", "ask another replica by --server; broker status --server "+e.servers[0]+" tells what this one lacks")
		return what + "\n" + strings.Join(lines, "\n")
	case e.unreachable():
		what = "no broker answers"
		line("server", strings.Join(e.servers, ", "))
		cause, remedy := connectionTrouble(e.status.Message(), e.security)
		line("cause", cause)
		line("remedy", cmp.Or(remedy, "name a broker by --server or "+serverVariable+", or give it more time by --timeout"))
		return what + "\n" + strings.Join(lines, "\n")
	}
	line("server", e.peer)
	line("status", code.Code(e.status.Code()).String())
	var retry, remedy string
	for _, detail := range e.status.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			line("reason", d.GetReason())
			remedy = remedyFor(d.GetReason())
			metadata := d.GetMetadata() // upstream_code, upstream_meaning, upstream_remedy
			for _, key := range slices.Sorted(maps.Keys(metadata)) {
				line(strings.ReplaceAll(strings.TrimPrefix(key, "upstream_"), "_", " "), metadata[key])
			}
		case *errdetails.RetryInfo:
			retry = "in " + span(e.pause())
		}
	}
	line("remedy", cmp.Or(e.remedy(), remedy))
	line("retry", retry)
	return what + "\n" + strings.Join(lines, "\n")
}

// what is the broker's own text, without what gRPC adds when repetitions did not help.
func (e *callError) what() string {
	text := e.status.Message()
	if strings.HasPrefix(text, "max retries exhausted") {
		if _, after, ok := strings.Cut(text, "desc = "); ok {
			return after
		}
	}
	return text
}
