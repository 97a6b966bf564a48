package transport

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// The methods below may be called on nil: then there is no TLS.

// ForGateway is a listener for the gateway: with TLS, and with the callers' certificates as configured. Whoever serves on it must bound the
// handshake, as net/http does with ReadHeaderTimeout.
func (c *Certificates) ForGateway(l net.Listener) net.Listener {
	return c.secure(l, func(m *material) *tls.Config { return m.gateway })
}

// ForPages is a listener for metrics and probes: probes have no certificates, so none is required, but whoever has one may show it.
func (c *Certificates) ForPages(l net.Listener) net.Listener {
	return c.secure(l, func(m *material) *tls.Config { return m.pages })
}

func (c *Certificates) secure(l net.Listener, which func(*material) *tls.Config) net.Listener {
	if c == nil {
		return l
	}
	return &secured{l, func() *tls.Config { return which(c.present.Load()) }}
}

// secured is a listener whose connections have TLS, with what is present when they begin.
type secured struct {
	net.Listener
	config func() *tls.Config
}

// Accept implements net.Listener. The handshake is left to who reads.
func (s *secured) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(conn, s.config()), nil
}

// CallerOf is the address and the certificate that an HTTP request came with, as OriginOf has them of a call. X-Forwarded-For and its like
// are not looked at: anybody can write them.
func (c *Certificates) CallerOf(r *http.Request) (access.Origin, error) {
	o := access.Origin{Peer: r.RemoteAddr}
	if c == nil || r.TLS == nil {
		return o, nil
	}
	var err error
	o.Certificate, err = c.caller(r.TLS)
	return o, err
}

// OriginOf is CallerOf with the bearer.
func (c *Certificates) OriginOf(r *http.Request) (access.Origin, error) {
	o, err := c.CallerOf(r)
	if err != nil {
		return o, err
	}
	o.Bearer, err = bearer(r.Header.Values("Authorization"))
	return o, err
}

// Handler is for the ErrorLog of a http.Server: it leaves out handshakes that failed, which it counts. Anybody can make as many of those as
// they like.
func (c *Certificates) Handler(h slog.Handler) slog.Handler {
	if c == nil {
		return h
	}
	return handshakes{h, c}
}

type handshakes struct {
	slog.Handler
	certificates *Certificates
}

// Handle implements slog.Handler.
func (h handshakes) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "TLS handshake error") {
		h.certificates.failedHandshakes.Inc()
		return nil
	}
	return h.Handler.Handle(ctx, r)
}
