package tokenbroker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"

	"google.golang.org/grpc/credentials"
)

// TLSFiles names the files of a caller's side of TLS, all in PEM form. They are read anew for each connection, so that whoever renews them
// has nothing to restart; connections that are open stay as they are.
type TLSFiles struct {
	// CAFile holds the authorities that brokers' certificates must come from. Empty: those of the system.
	CAFile string
	// CertFile and KeyFile hold the caller's own certificate, with what leads to its authority, and the key. Both empty: it has none.
	CertFile, KeyFile string
	// ServerName is the name that brokers' certificates must be valid for. Empty: the host of each broker's address.
	ServerName string
}

// Config reads the files. The caller's own certificate is read again for each connection that is made by what is returned.
func (f TLSFiles) Config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: f.ServerName}
	if f.CAFile != "" {
		pem, err := readSmall(f.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities of brokers: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the authorities of brokers: %s holds no certificate in PEM form", f.CAFile)
		}
	}
	if (f.CertFile == "") != (f.KeyFile == "") {
		return nil, errors.New("a certificate needs a key, and a key a certificate: name both files, or neither")
	}
	if f.CertFile == "" {
		return cfg, nil
	}
	if _, err := f.pair(); err != nil {
		return nil, err
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.pair() }
	return cfg, nil
}

// pair reads the certificate and its key. While they are being replaced they may not fit each other, and the connection is tried again.
func (f TLSFiles) pair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading this caller's certificate %s and key %s: %w", f.CertFile, f.KeyFile, err)
	}
	return &pair, nil
}

// Credentials returns the files as gRPC takes them. The error is that of Config: what cannot be read now is not waited for.
func (f TLSFiles) Credentials() (credentials.TransportCredentials, error) {
	cfg, err := f.Config()
	if err != nil {
		return nil, err
	}
	return &fileCredentials{TransportCredentials: credentials.NewTLS(cfg), files: f}, nil
}

// fileCredentials reads the files for each handshake.
type fileCredentials struct {
	credentials.TransportCredentials // of the first reading, for all that is no handshake

	files TLSFiles
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *fileCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if c.files.ServerName != "" {
		authority = c.files.ServerName // which gRPC would take for the name in any case
	}
	cfg, err := c.files.Config()
	if err != nil {
		return nil, nil, err // gRPC closes the connection, and tries again
	}
	return credentials.NewTLS(cfg).ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (c *fileCredentials) Clone() credentials.TransportCredentials {
	return &fileCredentials{TransportCredentials: c.TransportCredentials.Clone(), files: c.files}
}

// BearerFile proves who is calling by what a file holds: a static token of the brokers' token_file, or a JWT. It is read for each call, so
// that Kubernetes, for one, may replace it at any time. See WithBearerFile.
type BearerFile struct {
	Path string
	// Local: the brokers are on this machine, so that no encryption is needed.
	Local bool
}

// GetRequestMetadata implements credentials.PerRPCCredentials. Its error names the file, and nothing that is in it.
func (b BearerFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	data, err := readSmall(b.Path)
	if err != nil {
		return nil, fmt.Errorf("reading the bearer token: %w", err)
	}
	data = bytes.TrimRight(data, "\r\n")
	if len(data) == 0 || slices.ContainsFunc(data, func(c byte) bool { return c <= ' ' || c > '~' }) {
		return nil, fmt.Errorf("reading the bearer token: %s must hold one token in printable ASCII, and nothing else", b.Path)
	}
	return map[string]string{"authorization": "Bearer " + string(data)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (b BearerFile) RequireTransportSecurity() bool { return !b.Local }

// maxFile bounds what is read of a file. Authorities take some kilobytes, tokens less.
const maxFile = 1 << 20

func readSmall(path string) ([]byte, error) {
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
