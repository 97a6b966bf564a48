// Package access says who is calling and what they may have. It looks at credentials and rules only: it knows neither gRPC nor HTTP, and
// holds nothing of any call. An Origin goes in; the Authenticator makes a Caller of it, or refuses; the Policy decides what the Caller may do.
//
// # Who calls
//
// A credential proves one identity or more. Each identity begins with the kind of its proof, so that nobody can be called by another's
// name through another kind: whoever can choose a common name cannot choose a SPIFFE id.
//
//	client certificate   The first kind of name, in the order configured, that it has. A URI SAN that begins with spiffe:// makes it
//	                     an SVID: then it must be a valid one, and no other name of it is asked. DNS SANs are all identities.
//	                     TLS has verified the chain; that it has not expired since is looked at for each call.
//	JSON Web Token       Of the issuer that its claim iss names: signed by one of that one's keys with an asymmetric algorithm, made
//	                     for one of the audiences, with an expiry that is yet to come (by the word: no leeway), not before its
//	                     time (nbf and iat: one minute of leeway). One claim names the caller.
//	static token         A secret of 256 random bits, known by its SHA-256. It is found by its hash; the time that takes tells of the
//	                     hash of what was brought, and so nothing of any secret.
//	client's secret      Verified by the gateway, which says so in Origin.Client.
//	nothing              Anonymous.
//
// The strictest rule, where there are several: every credential that is brought must be valid, whatever else proves who it is; and what is
// not allowed to each of the identities is not allowed. So nobody wins by bringing more. A Caller expires when the first of the
// credentials does.
//
// Refusals wrap ErrUnauthenticated, and their texts are for the caller: which credential, what is wrong with it, and the way out. They
// have no part of a secret or of a token besides the claims that were compared. If a token may be good and the broker cannot tell, they wrap
// ErrIssuerAway as well.
//
// # An issuer's keys
//
// They come from a file, or from where OIDC discovery says: over https only, redirects not followed, at most 1 MiB, the announced
// issuer being the one that is configured. Keys that are symmetric, private, for encryption, or RSA of less than 2048 bits are not
// believed; a private one spoils the set.
//
// One goroutine for each issuer (Run) gets the keys: at once, then every ten minutes (a file: every five seconds), and earlier when a token
// names a key that is not known, but not within five seconds after the last time. After a failure it waits, from about a second up to about
// a minute. So an issuer is asked seldom, whatever callers make up. While it is away the keys that are known stay in use, without end:
// availability is worth more here than a key that was withdrawn in just that time. A call for which a key is lacking waits three seconds at
// most, and not at all after a failure. Nothing waits at the start.
//
// What a token proved is remembered by the token's hash: until it expires, and while its issuer has the very same keys. At most 8192 are.
//
// # What they may have
//
// A policy is a list of rules that allow; there is none that forbids, and what no rule allows is denied. A call names a verb and a token,
// and whether there is such a token does not matter: nobody learns names from refusals. The first rule that allows it is told as the one that
// decided. Where something is about no token in particular the token's name is empty, which only patterns for all tokens ("*") match; to
// resign is always so.
//
// In patterns of identities and tokens "*" stands for any characters (internal/token.Pattern). Anonymous is matched by the text "anonymous"
// only: a pattern that was written with named callers in mind must not let in those who bring nothing.
package access
