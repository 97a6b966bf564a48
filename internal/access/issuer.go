package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Issuer is somebody whose JSON Web Tokens are believed.
type Issuer struct {
	// Name begins the identities: "jwt:", it, ":" and the claim. CallerName says what it may be; unique.
	Name string
	// Issuer is the claim iss, to the letter; unique.
	Issuer string
	// Audiences: a token must be made for one of them. At least one, since without it a token that the caller gave to somebody else
	// would be good here, too.
	Audiences []string
	// Claim names the caller; default "sub". If it is "email" and the token says that the address is not verified, it is refused.
	Claim string
	// Keys says where the keys are that the issuer signs with.
	Keys KeySource
}

// skew is by how much an issuer's clock may be ahead of this machine's: tokens are taken so long before nbf and iat. Expiry (exp) is
// taken by the word.
const skew = time.Minute

// maxBearer is the longest bearer token that is looked at, in bytes.
const maxBearer = 16 << 10

// algorithms are those by which only the issuer can sign. HMAC is not among them: with it everybody who can verify can sign, and a public
// key could be passed off as the secret.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
}

func (i Issuer) validate() error {
	switch {
	case !CallerName.MatchString(i.Name):
		return fmt.Errorf("%.40q cannot be an issuer's name", i.Name)
	case i.Issuer == "":
		return fmt.Errorf("issuer %s: its claim iss is not said", i.Name)
	case len(i.Audiences) == 0 || slices.Contains(i.Audiences, ""):
		return fmt.Errorf("issuer %s: it is not said for which audience its tokens must be made", i.Name)
	}
	return i.Keys.validate()
}

// issuer is an Issuer with its keys.
type issuer struct {
	Issuer
	keys *keyring
}

// parseJWT reads a token's parts, and verifies nothing. Claims are read by go-jose's own JSON: that of the standard library takes "Aud" and "EXP",
// which an issuer may let its users add, for aud and exp, and the last of two that are named alike.
func parseJWT(raw string) (*jose.JSONWebSignature, jwt.Claims, error) {
	var claims jwt.Claims
	if len(raw) > maxBearer {
		return nil, claims, refuse("the bearer token is longer than %d bytes; bring another", maxBearer)
	}
	jws, err := jose.ParseSignedCompact(raw, algorithms())
	if algorithm := (*jose.ErrUnexpectedSignatureAlgorithm)(nil); errors.As(err, &algorithm) {
		return nil, claims, refuse("the bearer token is signed by %.20q; only RS, PS, ES (256, 384, 512) and EdDSA are taken", string(algorithm.Got))
	}
	if err != nil {
		return nil, claims, refuse("the bearer token is nobody's: it is none of the static tokens, and no signed JSON Web Token; bring one that is, or none")
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil {
		return nil, claims, refuse("the claims of the bearer token cannot be read; bring one that its issuer made")
	}
	return jws, claims, nil
}

// verify returns whose the token is, and the keys by which that is known. What is cheap to see is looked at first, so that expired tokens
// cost no signature check; the claims are believed only after it.
func (i *issuer) verify(ctx context.Context, jws *jose.JSONWebSignature, claims jwt.Claims) (Caller, *keySet, error) {
	if err := i.check(claims, time.Now()); err != nil {
		return Caller{}, nil, err
	}
	payload, keys, err := i.keys.verify(ctx, jws)
	if err != nil {
		return Caller{}, nil, err
	}
	name, err := i.subject(payload)
	if err != nil {
		return Caller{}, nil, err
	}
	return Caller{Identities: []Identity{KindJWT + Identity(i.Name) + ":" + Identity(name)}, Expires: claims.Expiry.Time()}, keys, nil
}

// check looks at the times and the audience. The issuer is known: the token was given to this one by its claim.
func (i *issuer) check(c jwt.Claims, now time.Time) error {
	at := func(d *jwt.NumericDate) string { return d.Time().UTC().Format(time.RFC3339) }
	switch {
	case c.Expiry == nil:
		return refuse("the bearer token never expires (it has no claim exp); have one made that does")
	case !now.Before(c.Expiry.Time()):
		return refuse("the bearer token expired at %s; bring a new one", at(c.Expiry))
	case c.NotBefore != nil && now.Add(skew).Before(c.NotBefore.Time()):
		return refuse("the bearer token is not valid before %s; compare the clocks", at(c.NotBefore))
	case c.IssuedAt != nil && now.Add(skew).Before(c.IssuedAt.Time()):
		return refuse("the bearer token was made at %s, which is yet to come; compare the clocks", at(c.IssuedAt))
	case !slices.ContainsFunc(i.Audiences, c.Audience.Contains):
		return refuse("the bearer token was made for others (aud %.200q); have it made for %q", []string(c.Audience), i.Audiences[0])
	}
	return nil
}

// subject returns the claim that names the caller.
func (i *issuer) subject(payload []byte) (string, error) {
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", refuse("the claims of the bearer token cannot be read; bring one that its issuer made")
	}
	var name string
	if err := json.Unmarshal(claims[i.Claim], &name); err != nil || name == "" {
		return "", refuse("the bearer token does not name its caller: its claim %s is no text; have one made that does", i.Claim)
	}
	if !printable(name) {
		return "", refuse("the claim %s of the bearer token is longer than %d bytes or has characters that cannot be printed; bring another", i.Claim, maxName)
	}
	if verified, says := claims["email_verified"]; i.Claim == "email" && says && string(verified) != "true" {
		return "", refuse("the issuer has not verified the e-mail address in the bearer token; have it verified")
	}
	return name, nil
}
