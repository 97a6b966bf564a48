package access_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/tokenbroker/tokenbroker/internal/access"
	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key is a key that tokens are signed with.
type key struct {
	id      string
	private crypto.Signer
}

func newKey(tb testing.TB, id string) key {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key{id, private}
}

// keySet is the public halves as an issuer publishes them.
func keySet(tb testing.TB, keys ...key) []byte {
	tb.Helper()
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Use: "sig"})
	}
	data, err := json.Marshal(set)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// claims are those of a token that is good now, with some of them changed; nil takes one away.
func claims(change map[string]any) map[string]any {
	now := time.Now()
	all := map[string]any{"iss": "https://issuer.example.org", "sub": "shop", "aud": "tokenbroker", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(all, change)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// sign makes a token.
func (k key) sign(tb testing.TB, claims any) string {
	tb.Helper()
	return signWith(tb, jose.SigningKey{Algorithm: jose.ES256, Key: k.private}, k.id, claims)
}

func signWith(tb testing.TB, with jose.SigningKey, id string, claims any) string {
	tb.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if id != "" {
		options = options.WithHeader("kid", id)
	}
	signer, err := jose.NewSigner(with, options)
	if err != nil {
		tb.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// file writes a file into a folder of the test.
func file(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	rewrite(tb, path, data)
	return path
}

// rewrite replaces a file at once.
func rewrite(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatal(err)
	}
}

// authenticator runs one until the test ends.
func authenticator(tb testing.TB, cfg access.Config) *access.Authenticator {
	tb.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a, err := access.NewAuthenticator(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return a
}

// shown is where a call with this bearer token comes from.
func shown(bearer string) access.Origin { return access.Origin{Bearer: token.NewSecret(bearer)} }

// refused demands a refusal that says all of the words.
func refused(tb testing.TB, a *access.Authenticator, o access.Origin, words ...string) {
	tb.Helper()
	c, err := a.Authenticate(tb.Context(), o)
	if !errors.Is(err, access.ErrUnauthenticated) || len(c.Identities) > 0 {
		tb.Errorf("the caller is %v, %v; wanted is a refusal", c.Identities, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			tb.Errorf("%q is not said by: %v", word, err)
		}
	}
}

// known demands these identities.
func known(tb testing.TB, a *access.Authenticator, o access.Origin, ids ...access.Identity) access.Caller {
	tb.Helper()
	c, err := a.Authenticate(tb.Context(), o)
	if err != nil {
		tb.Errorf("refused: %v", err)
		return c
	}
	if got := join(c.Identities); got != join(ids) {
		tb.Errorf("the caller is %s, wanted is %s", got, join(ids))
	}
	return c
}

func join(ids []access.Identity) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(string(id) + " ")
	}
	return b.String()
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  key
}

// longAgo is before the clock of any test, bubbles included.
var longAgo = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

func newAuthority(tb testing.TB) authority {
	tb.Helper()
	a := authority{key: newKey(tb, "")}
	a.cert = a.sign(tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: longAgo, NotAfter: longAgo.AddDate(100, 0, 0),
	}, a.key)
	return a
}

// sign makes a certificate; what the template leaves open is as in one for a workload that is valid now.
func (a authority) sign(tb testing.TB, template *x509.Certificate, subject key) *x509.Certificate {
	tb.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = longAgo, longAgo.AddDate(100, 0, 0)
	}
	parent := a.cert
	if parent == nil {
		parent = template
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, subject.private.Public(), a.key.private)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// pem is the authority's certificate as files hold it.
func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// logbook keeps what is logged.
type logbook struct{ logtest.Buffer }

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
