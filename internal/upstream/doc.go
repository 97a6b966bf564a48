// Package upstream is the one-shot HTTP client that every upstream package shares.
//
// A fetch is an external side effect without a fence: on a rotating upstream each processed request issues a token and condemns the
// one before it. Package refresh therefore has to know two things for certain, and both are promised here.
//
// # One request
//
// A Do writes at most one request, on a connection dialled for it alone. It follows no redirect, because it calls the transport and
// not an http.Client. It repeats nothing: net/http repeats a request only on a reused connection, there is none, and a second dial
// within one Do is refused besides. HTTP/1.1 only; nothing is compressed; every answer is bounded.
//
// # Written or not
//
// The connection is wrapped below TLS and below a proxy's CONNECT, at the socket. When the transport holds a connection that is ready
// for the request (httptrace.GotConn) the wrapper is armed. The first write after that is the request's: it calls
// Request.BeforeWrite, hands over the bytes, and calls Request.AfterWrite. So the outcome is one of
//
//   - not one byte was handed to the socket: token.OutcomeNone, Written false. Codes "dial", "proxy", "tls" (class Unreachable) and
//     "not_written".
//   - anything else that brought no answer: token.OutcomeUnknown, Written true. Codes "timeout", "canceled", "connection_lost",
//     "truncated", "too_large" and "malformed".
//
// The verdict is taken under the lock that guards the wrapper, and closes it: once Do has returned, neither hook is called and no byte
// is written any more, though goroutines of the transport may need a moment to notice. A write by TLS itself between arming and the
// request (a key update, a close alert) would count as the request's first byte: the doubtful case errs towards "written".
//
// # Nothing leaks
//
// No URL, query, body or answer is ever part of a Failure. What the network stack says is quoted, and a message that an upstream
// package quotes goes through Scrub.
package upstream
