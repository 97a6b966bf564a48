package access

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

const (
	maxSPIFFE      = 2048 // bytes, of the whole id
	maxTrustDomain = 255
)

// ValidateTrustDomain checks the name of a SPIFFE trust domain: 1 to 255 of a-z, 0-9, '.', '_' and '-'.
func ValidateTrustDomain(name string) error {
	if name == "" || len(name) > maxTrustDomain || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return fmt.Errorf("%.40q is no trust domain: it is 1 to %d of a-z, 0-9, '.', '_' and '-', without spiffe://", name, maxTrustDomain)
	}
	return nil
}

// spiffe returns the SPIFFE id of a certificate, nil if it is no SVID. What is required is in the SPIFFE standards X.509-SVID
// (sections 2 and 4, for leaves) and SPIFFE-ID (section 2).
func (c Certificates) spiffe(cert *x509.Certificate) ([]Identity, error) {
	if !slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.Scheme == "spiffe" }) {
		return nil, nil
	}
	var wrong error
	switch {
	case len(cert.URIs) > 1:
		wrong = fmt.Errorf("it has %d URI SANs, and must have exactly one", len(cert.URIs))
	case cert.IsCA:
		wrong = errors.New("it is an authority's, not a workload's")
	case cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		wrong = errors.New("its key may sign certificates, which a workload's must not")
	case cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		wrong = errors.New("its key usage lacks digitalSignature")
	default:
		wrong = c.believe(cert.URIs[0].String())
	}
	if wrong != nil {
		return nil, refuse("the client certificate is no valid X.509-SVID: %w; have it issued anew", wrong)
	}
	return []Identity{Identity(cert.URIs[0].String())}, nil
}

// believe checks the id of a workload.
func (c Certificates) believe(id string) error {
	domain, path, _ := strings.Cut(strings.TrimPrefix(id, KindSPIFFE), "/")
	if len(id) > maxSPIFFE {
		return fmt.Errorf("its id is longer than %d bytes", maxSPIFFE)
	}
	if err := ValidateTrustDomain(domain); err != nil {
		return err
	}
	if path == "" {
		return errors.New("its id names a trust domain, and no workload in it")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, notInSPIFFE) {
			return fmt.Errorf("the part %.40q of its id's path is empty, a relative one, or has other characters than letters, digits, '.', '_' and '-'", segment)
		}
	}
	if len(c.TrustDomains) > 0 && !slices.Contains(c.TrustDomains, domain) {
		return fmt.Errorf("the trust domain %q is not among authentication.certificates.trust_domains", domain)
	}
	return nil
}

func notInSPIFFE(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
		return false
	default:
		return true
	}
}
