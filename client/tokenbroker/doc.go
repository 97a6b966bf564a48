// Package tokenbroker keeps tokens of a token broker at hand.
//
//	client, err := tokenbroker.New(ctx, "broker-1:7700,broker-2:7700,broker-3:7700", tokenbroker.WithTLS(nil))
//	...
//	defer client.Close()
//	token, err := client.Token(ctx, "shop")        // from memory, after the first time
//	...
//	token, err = client.Invalid(ctx, token)        // WeChat said 40001, 40014 or 42001
//
// The brokers learn who is calling from a certificate, a bearer token in a file, or both; files are read anew when they are needed:
//
//	tokenbroker.WithTLSFiles(tokenbroker.TLSFiles{CAFile: "ca.pem", CertFile: "shop.pem", KeyFile: "shop-key.pem"})
//	tokenbroker.WithBearerFile("/var/run/secrets/tokens/broker")
//
// What other libraries want in place of a token of their own hangs on a Source: an http.RoundTripper, gRPC credentials, and the interfaces of
// the Go SDKs for WeChat. Package tokenbrokeroauth2 has the oauth2.TokenSource, and package tokenbrokertest a broker for tests.
//
// The rest of this page is the specification.
//
// # What is believed, and for how long
//
// A token's life counts from the moment before the request was sent whose answer promised it, on the monotonic clock. The replica counted from
// a later moment, so that the client never believes in a token for longer than the replica promised, however long the answer was under way,
// and whatever the clocks of the two machines show.
//
// Only answers to GetToken and ReportInvalidToken are believed. A message of a WatchToken stream has no such moment: when a connection stalls
// it lies in a buffer, the client's, the server's or a proxy's, for as long as the connection lives, and its ttl is of the past when it is
// read. Counted from its arrival it would prolong the life of a dead token; counted from the opening of the stream it would be worth nothing
// after some minutes. So a message is a hint that there is something to ask for, and nothing of it is used but version and state: whoever
// tells of a version that the client does not hold, or of a change of state, causes one GetToken. That costs one round trip after a rotation,
// during which the former token, whose promise stands, is handed out.
//
// A process that is stopped (SIGSTOP, a frozen cgroup) needs no special care: the monotonic clock goes on, and each read compares with it. It
// does not go on while the machine is suspended. What the wall clock gets ahead of it by more than half a second between two looks counts as
// time that has passed. A look costs as much as a read, so there is one a second, by whoever reads then, and one around each call: in the
// first second after the machine resumed, a reader may be handed a token whose life ended in the suspend. A wall clock that is set forward by
// hand makes the client ask anew; one that is set back has no effect.
//
// # When the broker is asked
//
// For each name that was asked for once the client keeps one stream open, and calls GetToken
//
//   - after the time that the last answer gave as refresh_after, which the broker spreads, so that callers do not come together;
//   - at least every 5 min once the stream has told of something, and every 30 s until then and when it cannot be opened again, less up to
//     a quarter. So polling takes over where a proxy cuts or swallows streams, or a server does not know them;
//   - when the stream tells of something new. If a replica that lags behind answers, the next is asked after 100 ms, and so on, doubling;
//   - when the broker refused, after the RetryInfo that it gave; when it could not be reached, after 100 ms, doubling up to 10 s, with jitter.
//
// A replica that cannot be reached is tried again after 100 ms, and then ever later, up to every 5 s, with jitter, however long the outage.
//
// A stream that ended is opened again after 500 ms, doubling up to a minute, with jitter. Each call goes to the next replica that calls itself
// healthy, waits for one if there is none, and is repeated up to twice where the answer is UNAVAILABLE.
//
// # What is handed out
//
// The newest version that was promised:
//
//	state    means                                                     Token returns
//	Active   promised for TTL longer                                   the token, at once
//	Suspect  the broker promises nothing; or the promise has run       the token; the first time after asking the broker once more.
//	         out, the stated end has not come, and nobody answers      With WithMinLife it is kept back, and Token waits
//	Expired  past its end, or known to be dead                         *Error at once if the broker said so; else it waits
//
// While no replica can be reached a token is handed out until its end. The stated end is known by the broker's wall clock only; it decides
// when a Suspect token becomes Expired, and nothing else.
//
// Versions never go back: while the newest token that was handed out has not reached its stated end, an older version is ignored, from
// whichever replica it comes. A living token is not replaced by a newer one that the broker cannot promise.
//
// Who needs more life than what is held has left calls TokenFor, or sets WithMinLife for all that the client does: then the broker is asked,
// and what it answers is held under the same rules.
//
// # Reports
//
// A version that was reported by Invalid is handed out no more, by this client, to anybody. It comes back in one case: the broker answers
// the report with the same version, which it does when the upstream said that the token lives. The client goes on reporting, whatever
// becomes of the caller, until there is a newer version or that answer; meanwhile callers of Token wait. If the broker says that it never
// had such a version, its store has been replaced, and the client begins anew with what it offers.
//
// InvalidVersion takes the version alone. If it is newer than what is held the broker is told once, and nothing is taken out of circulation on
// the caller's word: a version that never was must not cost the others their token.
//
// A token that the broker itself calls CONDEMNED is treated like a reported one, where the stream said which version that is.
//
// # Cost
//
// Reading a held token takes two atomic loads, a map lookup and a look at the monotonic clock. It takes no lock, makes no call and allocates
// nothing. Every name costs two goroutines and a stream; tokens beyond 512 are polled, so that streams do not use up what a connection allows.
//
// # Secrets
//
// Tokens are in no error, no log and no text that a Token is printed as. Neither they nor the caller's own bearer token go to another machine
// in the clear: New refuses a target that is not certainly on this one, unless there is encryption; WithInsecure lifts that for tokens, not
// for WithBearerFile.
package tokenbroker
