package transport

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxFile bounds what is read of a file.
const maxFile = 1 << 20

// contents are the files as they were read; authorities is nil if there is no such file.
type contents struct{ cert, key, authorities []byte }

// read reads all files. Between two of them somebody may replace them: then they do not fit, and the next reading will do.
func (cfg Config) read() (contents, error) {
	var c contents
	for _, f := range []struct {
		setting, path string
		into          *[]byte
	}{{"cert_file", cfg.CertFile, &c.cert}, {"key_file", cfg.KeyFile, &c.key}, {"client_ca_file", cfg.ClientCAFile, &c.authorities}} {
		if f.path == "" {
			continue
		}
		var err error
		if *f.into, err = readFile(f.path); err != nil {
			return c, fmt.Errorf("reading %s: %w", f.setting, err)
		}
	}
	return c, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is too large", path)
	}
	return data, err
}

// sum tells contents apart.
func (c contents) sum() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{c.cert, c.key, c.authorities} {
		own := sha256.Sum256(part)
		h.Write(own[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// material is what is served with. It never changes.
type material struct {
	sum         [sha256.Size]byte
	expires     time.Time           // when the first certificate of the server's chain does
	authorities []*x509.Certificate // of callers
	pool        *x509.CertPool      // the same
	// The settings of the three listeners.
	grpc, gateway, pages *tls.Config
}

// material makes the settings of the contents.
func (cfg Config) material(c contents) (*material, error) {
	m := &material{sum: c.sum()}
	chain, err := ParseCertificates(c.cert)
	if err != nil {
		return nil, fmt.Errorf("cert_file %s %w", cfg.CertFile, err)
	}
	pair, err := tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("cert_file %s and key_file %s are no pair: %w", cfg.CertFile, cfg.KeyFile, err)
	}
	m.expires = firstEnd(chain)
	base := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13,
		// A ticket would let a caller in whose certificate or authority has been taken back since. Connections are few and live long.
		SessionTicketsDisabled: true,
	}
	if cfg.ClientCAFile != "" {
		if m.authorities, err = ParseCertificates(c.authorities); err != nil {
			return nil, fmt.Errorf("client_ca_file %s %w", cfg.ClientCAFile, err)
		}
		m.pool = x509.NewCertPool()
		for _, authority := range m.authorities {
			m.pool.AddCert(authority)
		}
		base.ClientCAs, base.ClientAuth = m.pool, tls.VerifyClientCertIfGiven
	}
	m.pages = base.Clone()
	m.pages.NextProtos = []string{"h2", "http/1.1"}
	m.gateway = m.pages.Clone()
	if cfg.RequireClient {
		m.gateway.ClientAuth = tls.RequireAndVerifyClientCert
	}
	m.grpc = m.gateway.Clone()
	m.grpc.NextProtos = []string{"h2"}
	return m, nil
}

// ParseCertificates reads certificates in PEM form. A file that is being written ends in the middle of a block: what stands before that may
// not be taken for the whole. Its errors continue a sentence that names the file.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds a certificate that cannot be read: %w", err)
		}
		list = append(list, cert)
	}
	switch {
	case bytes.Contains(data, []byte("-----BEGIN")):
		return nil, errors.New("ends in the middle of a PEM block, or holds a broken one")
	case len(list) == 0:
		return nil, errors.New("holds no certificate")
	}
	return list, nil
}
