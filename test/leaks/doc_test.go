// Package leaks_test reads the broker's own source, and finds where something would be printed that shows a token or a secret by itself.
//
// A token.Secret prints as [redacted]. There are values that hold a token or a secret and know nothing of it: the messages of the API, whose
// debug_redact Go does not honour; requests and their headers, URLs with a query or a password; keys and certificates. Handing one of these to a
// printing function compiles, passes every test in which nothing goes wrong, and writes a token into a log on the day on which something does.
// So no such value is an argument of fmt or log/slog at all, whatever the verb: neither by itself nor within another value.
package leaks_test
