package access_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// local is an issuer whose keys are in a file.
func local(path string) access.Issuer {
	return access.Issuer{
		Name: "corp", Issuer: "https://issuer.example.org", Audiences: []string{"other", "tokenbroker"}, Keys: access.KeySource{File: path},
	}
}

func TestTokenOfAnIssuerNamesItsCaller(t *testing.T) {
	k := newKey(t, "k1")
	a := authenticator(t, access.Config{Issuers: []access.Issuer{local(file(t, "keys", keySet(t, k)))}})
	good := claims(nil)
	c := known(t, a, shown(k.sign(t, good)), "jwt:corp:shop")
	if want := time.Unix(good["exp"].(int64), 0); !c.Expires.Equal(want) {
		t.Errorf("it expires at %s, not at %s", c.Expires, want)
	}
	for name, change := range map[string]map[string]any{
		"several audiences":       {"aud": []string{"x", "tokenbroker"}},
		"a clock a little behind": {"nbf": time.Now().Add(50 * time.Second).Unix(), "iat": time.Now().Add(50 * time.Second).Unix()},
		"parts of seconds":        {"exp": float64(time.Now().Add(time.Hour).UnixMilli()) / 1000},
		"further claims":          {"email_verified": false, "groups": []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) { known(t, a, shown(k.sign(t, claims(change))), "jwt:corp:shop") })
	}
	for name, tc := range map[string]struct {
		change map[string]any
		words  string
	}{
		"expired":                   {map[string]any{"exp": time.Now().Add(-time.Second).Unix()}, "expired at"},
		"without expiry":            {map[string]any{"exp": nil}, "never expires"},
		"not valid yet":             {map[string]any{"nbf": time.Now().Add(2 * time.Minute).Unix()}, "not valid before"},
		"made in the future":        {map[string]any{"iat": time.Now().Add(2 * time.Minute).Unix()}, "yet to come"},
		"another audience":          {map[string]any{"aud": "else"}, `made for others (aud ["else"]); have it made for "other"`},
		"no audience":               {map[string]any{"aud": nil}, "made for others"},
		"another issuer":            {map[string]any{"iss": "https://evil.example.org"}, `issuer "https://evil.example.org" is not one of those`},
		"an issuer with a slash":    {map[string]any{"iss": "https://issuer.example.org/"}, "is not one of those"},
		"no issuer":                 {map[string]any{"iss": nil}, `issuer "" is not one of those`},
		"no subject":                {map[string]any{"sub": nil}, "claim sub is no text"},
		"an empty subject":          {map[string]any{"sub": ""}, "claim sub is no text"},
		"a subject of another kind": {map[string]any{"sub": 7}, "cannot be read"},
		"a subject with a line":     {map[string]any{"sub": "a\nb"}, "cannot be printed"},
		"a long subject":            {map[string]any{"sub": strings.Repeat("a", 513)}, "longer than 512 bytes"},
		"times that are none":       {map[string]any{"exp": "tomorrow"}, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, a, shown(k.sign(t, claims(tc.change))), tc.words) })
	}
}

func TestOnlySignaturesThatOnlyTheIssuerCanMakeAreTaken(t *testing.T) {
	k, other := newKey(t, "k1"), newKey(t, "k1")
	a := authenticator(t, access.Config{Issuers: []access.Issuer{local(file(t, "keys", keySet(t, k)))}})
	good := k.sign(t, claims(nil))
	parts := strings.Split(good, ".")
	encode := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	forged := claims(map[string]any{"sub": "admin"})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: other.private}, (&jose.SignerOptions{EmbedJWK: true}).WithHeader("kid", "k1"))
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(forged)
	embedded, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	withKey, _ := embedded.CompactSerialize()
	for name, tc := range map[string]struct{ bearer, words string }{
		"none":                       {encode(map[string]any{"alg": "none", "typ": "JWT"}) + "." + encode(forged) + ".", `signed by "none"`},
		"HMAC with the public key":   {signWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: public}, "k1", forged), `signed by "HS256"`},
		"HMAC with the key's bytes":  {signWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: der}, "", forged), `signed by "HS256"`},
		"another's key":              {other.sign(t, forged), "signature of the bearer token is wrong"},
		"a key that it brings":       {withKey, "signature of the bearer token is wrong"},
		"changed claims":             {parts[0] + "." + encode(forged) + "." + parts[2], "signature of the bearer token is wrong"},
		"no signature":               {parts[0] + "." + parts[1] + ".", "bearer token"},
		"blanks around it":           {" " + good, "no signed JSON Web Token"},
		"the JSON form":              {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, "no signed JSON Web Token"},
		"something else":             {"abc", "none of the static tokens, and no signed JSON Web Token"},
		"more than is looked at":     {strings.Repeat("a", 20<<10), "longer than"},
		"an encrypted token's parts": {"a.b.c.d.e", "no signed JSON Web Token"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, a, shown(tc.bearer), tc.words)
			_, err := a.Authenticate(t.Context(), shown(tc.bearer))
			if err != nil && len(tc.bearer) > 30 && strings.Contains(err.Error(), tc.bearer[len(tc.bearer)-30:]) {
				t.Errorf("a part of the token is told: %v", err)
			}
		})
	}
	known(t, a, shown(good), "jwt:corp:shop")
}

func TestClaimsAreReadByTheirNamesToTheLetter(t *testing.T) {
	// An issuer may let its users add claims of their own. None of them must pass for one that is compared.
	k := newKey(t, "k1")
	a := authenticator(t, access.Config{Issuers: []access.Issuer{local(file(t, "keys", keySet(t, k)))}})
	for name, tc := range map[string]struct {
		added string
		take  string
		words string
	}{
		"another Aud":  {`"Aud":"tokenbroker"`, "aud", "made for others"},
		"another EXP":  {`"EXP":99999999999`, "exp", "never expires"},
		"another Iss":  {`"Iss":"https://issuer.example.org"`, "iss", "is not one of those"},
		"aud twice":    {`"aud":"tokenbroker"`, "", "cannot be read"},
		"another nbf":  {`"ſub":"admin","NBF":99999999999`, "", ""}, // U+017F folds to s
		"another case": {`"Sub":"admin"`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			payload, err := json.Marshal(claims(map[string]any{tc.take: nil}))
			if err != nil {
				t.Fatal(err)
			}
			bearer := k.sign(t, json.RawMessage(string(payload[:len(payload)-1])+","+tc.added+"}"))
			if tc.words == "" {
				known(t, a, shown(bearer), "jwt:corp:shop")
				return
			}
			refused(t, a, shown(bearer), tc.words)
		})
	}
}

func TestEveryKindOfKeyIsTaken(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	path := file(t, "keys", keySet(t, key{"r", rsaKey}, key{"e", edKey}, newKey(t, "x")))
	a := authenticator(t, access.Config{Issuers: []access.Issuer{local(path)}})
	for _, with := range []jose.SigningKey{{Algorithm: jose.RS256, Key: rsaKey}, {Algorithm: jose.PS512, Key: rsaKey}, {Algorithm: jose.EdDSA, Key: edKey}} {
		id := "r"
		if with.Algorithm == jose.EdDSA {
			id = "e"
		}
		known(t, a, shown(signWith(t, with, id, claims(nil))), "jwt:corp:shop")
		known(t, a, shown(signWith(t, with, "", claims(nil))), "jwt:corp:shop") // tokens need not name their key
	}
}

func TestCallerIsNamedByTheClaimThatIsConfigured(t *testing.T) {
	k := newKey(t, "k1")
	path := file(t, "keys", keySet(t, k))
	mail, mine := local(path), local(path)
	mail.Claim = "email"
	mine.Name, mine.Issuer, mine.Claim = "mine", "mine", "client_id"
	a := authenticator(t, access.Config{Issuers: []access.Issuer{mail, mine}})
	known(t, a, shown(k.sign(t, claims(map[string]any{"email": "a@example.org"}))), "jwt:corp:a@example.org")
	known(t, a, shown(k.sign(t, claims(map[string]any{"email": "a@example.org", "email_verified": true}))), "jwt:corp:a@example.org")
	refused(t, a, shown(k.sign(t, claims(map[string]any{"email": "a@example.org", "email_verified": false}))), "has not verified")
	refused(t, a, shown(k.sign(t, claims(map[string]any{"email": "a@example.org", "email_verified": "true"}))), "has not verified")
	refused(t, a, shown(k.sign(t, claims(nil))), "claim email is no text")
	known(t, a, shown(k.sign(t, claims(map[string]any{"iss": "mine", "client_id": "till"}))), "jwt:mine:till")
}

func TestTokenIsNotRememberedBeyondItsExpiry(t *testing.T) {
	k := newKey(t, "k1")
	path := file(t, "keys", keySet(t, k))
	synctest.Test(t, func(t *testing.T) {
		a := authenticator(t, access.Config{Issuers: []access.Issuer{local(path)}})
		o := shown(k.sign(t, claims(map[string]any{"exp": time.Now().Add(time.Minute).Unix()})))
		known(t, a, o, "jwt:corp:shop")
		time.Sleep(time.Minute - time.Nanosecond)
		known(t, a, o, "jwt:corp:shop")
		time.Sleep(time.Nanosecond)
		refused(t, a, o, "expired")
	})
}

func TestKeysInAFileAreReadAnewWhenTheyChange(t *testing.T) {
	first, second := newKey(t, "k1"), newKey(t, "k2")
	path := file(t, "keys", keySet(t, first))
	synctest.Test(t, func(t *testing.T) {
		var log logbook
		a := authenticator(t, access.Config{Issuers: []access.Issuer{local(path)}, Logger: log.logger()})
		old := shown(first.sign(t, claims(nil)))
		known(t, a, old, "jwt:corp:shop")
		refused(t, a, shown(second.sign(t, claims(nil))), "no key of the issuer corp")
		rewrite(t, path, keySet(t, second))
		time.Sleep(6 * time.Second)
		known(t, a, shown(second.sign(t, claims(nil))), "jwt:corp:shop")
		refused(t, a, old, "no key of the issuer corp") // what a key has signed goes with it, also what was remembered

		for _, broken := range []string{"", "{", `{"keys":[]}`} {
			rewrite(t, path, []byte(broken))
			time.Sleep(2 * time.Minute)
			known(t, a, shown(second.sign(t, claims(nil))), "jwt:corp:shop")
		}
		if text := log.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "issuer=corp") || !strings.Contains(text, path) {
			t.Errorf("logged is\n%s", text)
		}
		rewrite(t, path, keySet(t, first))
		time.Sleep(2 * time.Minute)
		known(t, a, shown(first.sign(t, claims(nil))), "jwt:corp:shop")
		if !strings.Contains(log.String(), "there again") {
			t.Errorf("logged is\n%s", log.String())
		}
	})
}

func TestKeyFileThatIsOfNoUseIsSaidAtTheStart(t *testing.T) {
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: newKey(t, "").private, KeyID: "k1"}}})
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := newKey(t, "k1")
	for name, tc := range map[string]struct{ text, words string }{
		"private":    {string(private), "there is a private key"},
		"symmetric":  {`{"keys":[{"kty":"oct","k":"AAAA"}]}`, "none of the 1 keys"},
		"weak":       {string(keySet(t, key{"w", weak})), "none of the 1 keys"},
		"unknown":    {`{"keys":[{"kty":"OKP","crv":"X448","x":"AAAA"},{"kty":"EC","crv":"P-256"},7]}`, "none of the 3 keys"},
		"for others": {strings.Replace(string(keySet(t, good)), `"sig"`, `"enc"`, 1), "none of the 1 keys"},
		"no set":     {"<html>", "no JSON Web Key Set"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := access.NewAuthenticator(access.Config{Issuers: []access.Issuer{local(file(t, "keys", []byte(tc.text)))}, Logger: (&logbook{}).logger()})
			if err == nil || !strings.Contains(err.Error(), tc.words) || !strings.Contains(err.Error(), "corp") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestReloadThatIsWrongLeavesEverythingAsItWas(t *testing.T) {
	k := newKey(t, "k1")
	path := file(t, "keys", keySet(t, k))
	a := authenticator(t, access.Config{Issuers: []access.Issuer{local(path)}})
	bearer := shown(k.sign(t, claims(nil)))
	unnamed, voiceless, twin, missing, remote := local(path), local(path), local(path), local(path+"x"), local("")
	unnamed.Name, voiceless.Audiences, twin.Name = "a b", nil, "twin"
	remote.Keys.Discovery = "http://issuer.example.org"
	for name, cfg := range map[string]access.Config{
		"name":      {Issuers: []access.Issuer{unnamed}},
		"audience":  {Issuers: []access.Issuer{voiceless}},
		"twins":     {Issuers: []access.Issuer{local(path), twin}},
		"no file":   {Issuers: []access.Issuer{missing}},
		"plaintext": {Issuers: []access.Issuer{remote}},
		"names":     {Certificates: access.Certificates{Names: []access.Name{"serial"}}},
		"domain":    {Certificates: access.Certificates{TrustDomains: []string{"spiffe://example.org"}}},
	} {
		if err := a.Configure(cfg); err == nil {
			t.Errorf("%s: nothing is wrong with it", name)
		}
		known(t, a, bearer, "jwt:corp:shop")
	}
	if err := a.Configure(access.Config{}); err != nil {
		t.Fatal(err)
	}
	refused(t, a, bearer, "bearer tokens are not taken here")
}

func TestTokenThatIsKnownCostsNoSignatureCheck(t *testing.T) {
	k := newKey(t, "k1")
	a := authenticator(t, access.Config{Issuers: []access.Issuer{local(file(t, "keys", keySet(t, k)))}})
	o := shown(k.sign(t, claims(nil)))
	known(t, a, o, "jwt:corp:shop")
	// One is the token's bytes, for their hash; a signature check makes dozens.
	if n := testing.AllocsPerRun(1000, func() { _, _ = a.Authenticate(context.Background(), o) }); n > 1 {
		t.Errorf("%v allocations a call", n)
	}
}

func BenchmarkTokenThatIsKnown(b *testing.B) {
	k := newKey(b, "k1")
	a := authenticator(b, access.Config{Issuers: []access.Issuer{local(file(b, "keys", keySet(b, k)))}})
	o := shown(k.sign(b, claims(nil)))
	known(b, a, o, "jwt:corp:shop")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = a.Authenticate(b.Context(), o)
	}
}
