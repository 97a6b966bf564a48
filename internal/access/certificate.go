package access

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Name is a kind of name in a certificate.
type Name string

// The names of a certificate that can be a caller's.
const (
	SPIFFE Name = "spiffe" // the URI SAN
	DNS    Name = "dns"    // the DNS SANs, each of them
	CN     Name = "cn"     // the subject's common name
)

// Certificates says which names of client certificates are believed. The authorities are TLS's business: what is asked here was
// verified before.
type Certificates struct {
	// Names are tried in this order; the first kind that a certificate has is its caller's, and no other. Default: SPIFFE only.
	Names []Name
	// TrustDomains are those whose SPIFFE ids are believed; empty means all that the authorities vouch for.
	TrustDomains []string
}

// identities returns what the certificate proves now, at least one identity.
func (c Certificates) identities(cert *x509.Certificate, now time.Time) ([]Identity, error) {
	switch {
	case now.After(cert.NotAfter):
		return nil, refuse("the client certificate expired at %s; renew it, and connect anew", cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return nil, refuse("the client certificate is not valid before %s; compare the clocks", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	for _, name := range c.names() {
		var (
			ids []Identity
			err error
		)
		switch name {
		case SPIFFE:
			ids, err = c.spiffe(cert)
		case DNS:
			ids, err = dnsNames(cert)
		case CN:
			ids, err = commonName(cert)
		}
		if err != nil || len(ids) > 0 {
			return ids, err
		}
	}
	return nil, refuse("the client certificate has no name of a kind that is believed here (%s); use one that has, or add the kind to authentication.certificates.names", c.list())
}

func (c Certificates) names() []Name {
	if len(c.Names) == 0 {
		return []Name{SPIFFE}
	}
	return c.Names
}

func (c Certificates) list() string {
	var words []string
	for _, name := range c.names() {
		words = append(words, string(name))
	}
	return strings.Join(words, ", ")
}

// validate checks what an operator chose.
func (c Certificates) validate() error {
	for _, name := range c.Names {
		if name != SPIFFE && name != DNS && name != CN {
			return fmt.Errorf("there is no kind of name %q in a certificate", string(name))
		}
	}
	for _, domain := range c.TrustDomains {
		if err := ValidateTrustDomain(domain); err != nil {
			return err
		}
	}
	return nil
}

// dnsNames makes an identity of every DNS SAN: a certificate for two services is as little allowed as the lesser of them.
func dnsNames(cert *x509.Certificate) ([]Identity, error) {
	var ids []Identity
	for _, name := range cert.DNSNames {
		lower := strings.ToLower(name)
		if lower == "" || strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" || strings.HasSuffix(lower, ".") {
			return nil, refuse("the DNS name %q in the client certificate names nobody in particular; use a certificate for the caller's own name", name)
		}
		if id := KindDNS + Identity(lower); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func commonName(cert *x509.Certificate) ([]Identity, error) {
	name := cert.Subject.CommonName
	if name == "" {
		return nil, nil
	}
	if !printable(name) {
		return nil, refuse("the common name of the client certificate has characters that cannot be printed; use another certificate")
	}
	return []Identity{KindCN + Identity(name)}, nil
}

// maxName is the longest name of a caller that is taken, in bytes: it is written into logs, and compared for each call.
const maxName = 512

// printable reports whether a text can stand in logs and be compared by eye.
func printable(text string) bool {
	return len(text) <= maxName && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// refuse makes an error of kind ErrUnauthenticated.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnauthenticated, fmt.Errorf(format, args...))
}
