package token

import "time"

// RequestKind says what a replica asks of the leader.
type RequestKind string

// The kinds of request.
const (
	// RequestReport: a caller found the version dead at the upstream.
	RequestReport RequestKind = "report"
	// RequestRefresh: an operator wants a fetch now.
	RequestRefresh RequestKind = "refresh"
	// RequestFloor: a replica serves a value under Version that the store does not have: it fetched alone while it was cut off, or the
	// store lost its data and gave the version to another value. The next commit must go above it.
	RequestFloor RequestKind = "floor"
	// RequestDoubt: the store went back in time, and may have lost what a replica knew, or could have known, of Version: that it is dead, or
	// that an attempt may have ended its life. The leader must replace it.
	RequestDoubt RequestKind = "doubt"
	// RequestReseal: an operator wants the record written as it is, so that its value is sealed with the key that the leader seals with
	// now. Nothing is fetched.
	RequestReseal RequestKind = "reseal"
	// RequestResign: an operator wants another leader.
	RequestResign RequestKind = "resign"
)

// Request is what a replica asks of the leader, through the store. Two requests of the same kind, name, version and force are
// the same request: they share one key and one reply.
type Request struct {
	Kind RequestKind
	// Name is the token's name; empty for RequestResign.
	Name string
	// Version is the version that was reported dead, that the operator saw when asking for a refresh, or that was served alone; the
	// term to end for RequestResign; for RequestReseal the key's id, so that another key is another request.
	Version int64
	// Force asks to kill the current value at the upstream. RequestRefresh only.
	Force bool
	// From is the replica that asks, and At its wall time.
	From string
	At   time.Time
}

// Verdict is the leader's answer to a request.
type Verdict string

// The verdicts.
const (
	// VerdictDone: a token newer than the request has been committed, the record was written, or the term has ended.
	VerdictDone Verdict = "done"
	// VerdictUnchanged: the upstream answered with the same token (WeChat stable outside its last five minutes), or confirmed that
	// the reported one lives.
	VerdictUnchanged Verdict = "unchanged"
	// VerdictExhausted: spacing or budget do not allow a fetch before RetryAfter.
	VerdictExhausted Verdict = "exhausted"
	// VerdictFailed: the fetch failed; see Failure. The leader goes on trying if the token is needed.
	VerdictFailed Verdict = "failed"
)

// Reply answers a Request. It stays in the store for RetryAfter (a few seconds at least), so that repeated requests find it.
type Reply struct {
	Verdict    Verdict
	RetryAfter time.Duration
	// Reason says in words why the verdict is not VerdictDone.
	Reason string
	// Failure is the upstream's failure behind VerdictFailed.
	Failure *Failure
}

// Call is a Request that waits for the leader's answer.
type Call struct {
	Request
	// Reply is called once with the answer, unless the term ends first. It does not block.
	Reply func(Reply)
}
