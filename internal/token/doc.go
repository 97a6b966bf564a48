// Package token is the domain: what a token is called, what is known of it, and what can go wrong in fetching one.
//
// It holds values only and imports nothing of ours. A Record is what the cluster knows durably about one token; a Grant is what an
// upstream hands out; a Failure is why it did not. Secret values redact themselves in every format verb, in JSON and in slog.
package token
