// Package certtest makes certificates for tests: an authority, and what it issues, in files as programs take them.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority issues certificates.
type Authority struct {
	// File has the authority's own certificate.
	File string

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Leaf says what a certificate is for. All of it may be empty.
type Leaf struct {
	CommonName string
	DNS        []string
	IPs        []net.IP
	URI        string
	// Ended: it has expired an hour ago.
	Ended bool
}

// Pair is a certificate and its key, in files.
type Pair struct{ Cert, Key string }

// New makes an authority.
func New(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	der, a.key = issue(tb, template, nil, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	a.File = write(tb, tb.TempDir(), "ca.pem", "CERTIFICATE", der)
	return a
}

// Issue makes a certificate for servers and for callers.
func (a *Authority) Issue(tb testing.TB, leaf Leaf) Pair {
	tb.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: leaf.CommonName}, DNSNames: leaf.DNS, IPAddresses: leaf.IPs, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if leaf.URI != "" {
		uri, err := url.Parse(leaf.URI)
		if err != nil {
			tb.Fatal(err)
		}
		template.URIs = []*url.URL{uri}
	}
	if leaf.Ended {
		template.NotAfter = time.Now().Add(-time.Hour)
	}
	der, key := issue(tb, template, a.cert, a.key)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	return Pair{Cert: write(tb, dir, "cert.pem", "CERTIFICATE", der), Key: write(tb, dir, "key.pem", "PRIVATE KEY", encoded)}
}

// issue signs a template; nobody's parent is its own.
func issue(tb testing.TB, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		tb.Fatal(err)
	}
	template.NotBefore = time.Now().Add(-24 * time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		tb.Fatal(err)
	}
	return der, key
}

func write(tb testing.TB, dir, name, kind string, der []byte) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
