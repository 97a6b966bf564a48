package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/audit"
	"github.com/tokenbroker/tokenbroker/internal/server"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// trustTime is how long a call may take before its caller's credentials are looked at anew.
const trustTime = time.Second

// errHidden is Allow's error for one of many tokens that a list may show. Nobody sees it.
var errHidden = errors.New("not shown")

var errExpired = fmt.Errorf("%w: what was brought to prove it has expired meanwhile", access.ErrUnauthenticated)

// visit is a call that was let in.
type visit struct {
	guard  *Guard
	ctx    context.Context
	method server.Method
	began  time.Time
	// known: origin is what is known of the caller, whatever ctx says.
	known  bool
	origin access.Origin
	caller access.Caller
	// rules are those that the caller was found by.
	rules *Rules

	// held are the buckets that were taken from; most callers have one.
	held []*bucket
	few  [2]*bucket

	// decided: something was asked for. token and decision are the last, or of lists the first that was allowed.
	decided  bool
	token    string
	decision access.Decision
	version  int64
	// recorded: a record tells of the call's end; unrecorded: one could not be made.
	recorded, unrecorded bool
}

// isList reports whether the call asks for each token, and shows those that it may.
func (v *visit) isList() bool { return v.method.Verb == access.List || v.method.Verb == access.Status }

// isOrder reports whether the call changes something.
func (v *visit) isOrder() bool {
	return v.method.Verb == access.Report || v.method.Verb == access.Refresh || v.method.Verb == access.Resign
}

// Allow implements server.Visit.
func (v *visit) Allow(token string) error {
	if err := v.current(v.decided && v.method.Stream); err != nil {
		return err
	}
	decision := v.rules.Policy.Decide(v.caller, v.method.Verb, token)
	if v.isList() && token != "" {
		if !decision.Allowed {
			return errHidden
		}
		token = ""
		if v.decided {
			return nil
		}
	}
	first := !v.decided
	v.decided, v.token, v.decision = true, token, decision
	switch {
	case !decision.Allowed:
		return server.Denied(v.denial())
	case first && v.isOrder():
		return v.must(v.record(audit.Ordered, codes.OK))
	default:
		return nil
	}
}

// denial says what is not allowed, with what the caller said and nothing else.
func (v *visit) denial() string {
	who := string(v.decision.Identity)
	if v.decision.Identity == access.Anonymous {
		who = "a caller who brings no credentials (anonymous)"
	}
	what := fmt.Sprintf("%s token %.64q", v.method.Verb, v.token)
	switch {
	case v.method.Verb == access.Resign:
		what = "have the leader resign"
	case v.method.Verb == access.Status:
		what = "see the status of any token"
	case v.token == "":
		what = fmt.Sprintf("%s any token", v.method.Verb)
	}
	return fmt.Sprintf("the policy does not allow %.256s to %s", who, what)
}

// Hand implements server.Visit.
func (v *visit) Hand(token string, version int64) error {
	if err := v.current(v.method.Stream); err != nil {
		return err
	}
	if !v.isList() {
		v.decision = v.rules.Policy.Decide(v.caller, v.method.Verb, v.token)
	}
	if !v.decision.Allowed {
		return server.Denied(v.denial())
	}
	v.version = version
	return v.must(v.record(audit.Done, codes.OK))
}

// current looks whether the caller is still who they were found to be: again means at all events. A caller who is not has no rights.
func (v *visit) current(again bool) error {
	now := time.Now()
	if rules := v.guard.rules.Load(); rules != v.rules || again || now.Sub(v.began) >= trustTime {
		v.rules, v.began = rules, now
		if err := v.identify(); err != nil {
			return v.forget(err)
		}
	}
	if !v.caller.Expires.IsZero() && !now.Before(v.caller.Expires) {
		return v.forget(errExpired)
	}
	return nil
}

// identify finds out anew who calls.
func (v *visit) identify() (err error) {
	if !v.known {
		if v.origin, err = v.guard.cfg.Origin(v.ctx); err != nil {
			return err
		}
	}
	caller, err := v.rules.Authenticator.Authenticate(v.ctx, v.origin)
	if err == nil {
		v.caller = caller
	}
	return err
}

// forget takes back what was allowed.
func (v *visit) forget(err error) error {
	v.decided, v.decision.Allowed = true, false
	return refusalOf(err)
}

// must is for records without which nothing may go on.
func (v *visit) must(err error) error {
	if err == nil {
		return nil
	}
	v.unrecorded = true
	v.guard.metrics.refuse(unrecorded, kindOf(v.caller))
	return server.Unrecorded()
}

// End implements server.Visit. What must be known of the call's end and is not recorded yet is recorded.
func (v *visit) End(err error) {
	v.guard.buckets.leave(v)
	code := status.Code(err)
	refused := v.decided && !v.decision.Allowed
	if refused {
		v.refused(code)
	}
	if v.decided && !v.unrecorded && (refused || !v.recorded) {
		_ = v.record(audit.Done, code) // nothing leaves any more that could be held back
	}
}

// refused books that the call was refused, for want of rights or of valid credentials.
func (v *visit) refused(code codes.Code) {
	reason := denied
	if code == codes.Unauthenticated {
		reason = unauthenticated
	}
	v.guard.metrics.refuse(reason, kindOf(v.caller))
	if v.decision.Identity == access.Anonymous {
		v.guard.buckets.suspect(v.guard.buckets.address(v.origin.Peer))
	}
}

// recordable is how the audit log tells of a name that was asked for. What cannot be a name may be a token or a secret that somebody put in its
// place.
func recordable(name string) string {
	if name == "" || token.ValidateName(name) == nil {
		return name
	}
	return "(not a name)"
}

// record writes what is known of the call.
func (v *visit) record(phase audit.Phase, code codes.Code) error {
	if v.guard.cfg.Audit == nil {
		return nil
	}
	r := audit.Record{
		Phase: phase, Who: v.caller.Identities, Method: v.method.Name, Verb: v.method.Verb, Token: recordable(v.token),
		Allowed: v.decision.Allowed, Rule: v.decision.Rule, Peer: v.origin.Peer,
	}
	if phase == audit.Done {
		r.Code, v.recorded = code.String(), true
		if code == codes.OK {
			r.Version = v.version
		}
	}
	if parents := metadata.ValueFromIncomingContext(v.ctx, "traceparent"); len(parents) == 1 {
		r.Trace = audit.TraceID(parents[0])
	}
	return v.guard.cfg.Audit.Append(r)
}
