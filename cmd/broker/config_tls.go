package main

import (
	"log/slog"
	"net"

	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// tlsConfig is what the broker shows to callers and asks of them, the same at all its addresses. Without a certificate there is no TLS.
type tlsConfig struct {
	// Own are the certificate and key, and the authorities of callers; none: callers are not asked for certificates.
	Own tlsFiles
	// Required: nobody is let in without a certificate, but at http.listen.
	Required bool
}

func (s *section) serving() tlsConfig {
	c := tlsConfig{Own: s.tlsWith("client_ca_file")}
	asked := s.get("client_certificates")
	c.Required = asked.oneOf("optional", "optional", "required") == "required"
	switch {
	case s.present && !s.broken && c.Own.Cert == "" && c.Own.Key == "":
		s.fail("a server needs a certificate", "give cert_file and key_file, or take tls away and write plaintext: true")
	case asked.given && c.Own.CA == "":
		asked.fail("callers' certificates are verified with authorities, and there are none", "name them in client_ca_file")
	}
	s.end()
	return c
}

// transport reads how calls are protected: with tls, or, if the operator says so, not at all.
func (s *section) transport(c *config) {
	plaintext, tls := s.get("plaintext"), s.section("tls")
	c.Plaintext, c.TLS = plaintext.boolean(false), tls.serving()
	switch {
	case c.Plaintext && tls.present:
		tls.fail("both tls and plaintext are given", "keep one of them")
	case !c.Plaintext && !tls.present:
		s.fail("it is not said how calls are protected",
			"add tls: {cert_file: ..., key_file: ...}, or plaintext: true if every address to listen on is on loopback")
	}
}

// checkPlaintext reports an address to listen on that others than this machine can reach, where calls are not encrypted.
func (v value) checkPlaintext(address string, plaintext bool) {
	if host, _, err := net.SplitHostPort(address); plaintext && err == nil && !loopback(host) {
		v.fail("this is not a loopback address, and calls are not encrypted (plaintext)", "use tls, or a loopback address such as 127.0.0.1:7700")
	}
}

// open reads the files of the server. The result is nil where there is no TLS.
func (t tlsConfig) open(log *slog.Logger) (*transport.Certificates, error) {
	if t.Own.Cert == "" {
		return nil, nil
	}
	return transport.Open(transport.Config{
		CertFile: t.Own.Cert, KeyFile: t.Own.Key, ClientCAFile: t.Own.CA, RequireClient: t.Required, Logger: log,
	})
}

// describe says for people how calls are protected.
func (t tlsConfig) describe() string {
	switch {
	case t.Own.Cert == "":
		return "plaintext, on loopback only"
	case t.Own.CA == "":
		return "TLS 1.3"
	case t.Required:
		return "TLS 1.3, callers' certificates required"
	default:
		return "TLS 1.3, callers' certificates optional"
	}
}
