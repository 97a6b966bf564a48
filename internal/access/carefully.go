package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// client returns a client for one attempt, and what closes its connections.
func (s KeySource) client() (*http.Client, func(), error) {
	base := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{}).DialContext, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if s.CAFile != "" {
		data, err := readFile(s.CAFile)
		if err != nil {
			return nil, nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(data) {
			return nil, nil, fmt.Errorf("%s holds no certificate in PEM form", s.CAFile)
		}
		base.TLSClientConfig.RootCAs = pool
	}
	careful := carefully{base: base}
	if s.BearerTokenFile != "" {
		data, err := readFile(s.BearerTokenFile)
		if err != nil {
			return nil, nil, err
		}
		careful.bearer = token.NewSecret(strings.TrimSpace(string(data)))
	}
	return &http.Client{Transport: careful}, base.CloseIdleConnections, nil
}

// carefully sends nothing to where others could listen, follows nobody elsewhere, and takes only small answers. Errors have no part of an
// answer, which could repeat what was sent.
type carefully struct {
	base   http.RoundTripper
	bearer token.Secret
}

// RoundTrip implements http.RoundTripper.
func (c carefully) RoundTrip(req *http.Request) (*http.Response, error) {
	if !safe(req.URL) {
		return nil, errors.New("keys are believed over https only")
	}
	if req.URL.Scheme == "https" && !c.bearer.IsZero() {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer "+c.bearer.Reveal()) //nolint:forbidigo // it is sent to whom it is for
	}
	resp, err := c.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("it answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}
