package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// papers are the keys, certificates and tokens of one test, in files, and a list of all that must stay secret of them.
type papers struct {
	dir       string
	authority *x509.Certificate
	key       *ecdsa.PrivateKey // the authority's, and that of JWTs
	values    map[string]string // by what it is
}

func newPapers(t *testing.T) *papers {
	t.Helper()
	p := &papers{dir: t.TempDir(), values: map[string]string{}}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	p.key = p.newKey(t, "the authority")
	raw, err := x509.CreateCertificate(rand.Reader, template, template, p.key.Public(), p.key)
	if err == nil {
		p.authority, err = x509.ParseCertificate(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})))
	return p
}

// write writes a file and returns its path.
func (p *papers) write(t *testing.T, name, text string) string {
	t.Helper()
	path := p.path(name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *papers) path(name string) string { return filepath.Join(p.dir, name) }

// secret notes a value that must not be seen, and returns it.
func (p *papers) secret(what, value string) string {
	p.values[what] = value
	return value
}

// newKey makes a private key. What is secret of it is its number, and the text in which files have it.
func (p *papers) newKey(t *testing.T, of string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	number, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p.secret("the private key of "+of, string(number))
	return key
}

// pair makes a certificate for 127.0.0.1, with a common name and perhaps a SPIFFE id, and its key: NAME.pem and NAME-key.pem.
func (p *papers) pair(t *testing.T, name, spiffe string) tls.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if spiffe != "" {
		id, err := url.Parse(spiffe)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{id}
	}
	key := p.newKey(t, name)
	raw, err := x509.CreateCertificate(rand.Reader, template, p.authority, key.Public(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	p.secret("a line of the file with the private key of "+name, strings.Split(string(keyPEM), "\n")[2]) // the first line is the same in all keys
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	p.write(t, name+".pem", string(certPEM))
	p.write(t, name+"-key.pem", string(keyPEM))
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// keys is the set of public keys with which JWTs are checked.
func (p *papers) keys(t *testing.T) string {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "k", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(set)
}

// jwt makes a token for a subject that ends after a life, which may be over.
func (p *papers) jwt(t *testing.T, subject string, life time.Duration) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "k"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{
		"iss": jwtIssuer, "sub": subject, "aud": "tokenbroker", "iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(life).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	p.secret("the signature of a JWT of "+subject, text[strings.LastIndexByte(text, '.')+1:])
	return text
}

const jwtIssuer = "https://issuer.example.org"

// hashed is what a configuration holds of a secret.
func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
