package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// lookEvery is how often the files are looked at.
	lookEvery = 5 * time.Second
	// warnAhead is how long before the end of the certificate it is warned of, and warnEvery how often.
	warnAhead = 14 * 24 * time.Hour
	warnEvery = 24 * time.Hour
)

// Config says which files to serve with, all in PEM form.
type Config struct {
	// CertFile holds the server's certificate and those that lead to its authority, and KeyFile its key. Required.
	CertFile, KeyFile string
	// ClientCAFile holds the authorities of callers' certificates. Empty: callers are not asked for any.
	ClientCAFile string
	// RequireClient lets nobody in without a certificate, but on the port of metrics and probes. Needs ClientCAFile.
	RequireClient bool
	// Logger gets what becomes of the files. Default: nothing is logged.
	Logger *slog.Logger
}

// Certificates are what a server shows, and whom it believes. They follow their files. They are a prometheus.Collector, too.
type Certificates struct {
	cfg         Config
	present     atomic.Pointer[material]
	connections connections

	mu     sync.Mutex // held while the files are read
	broken string     // the error that was logged last, as long as it lasts
	warned time.Time  // when the end was warned of

	expiry           prometheus.GaugeFunc
	failedReloads    prometheus.Counter
	failedHandshakes prometheus.Counter
}

// Open reads the files. It starts nothing: see Run. The error names the file, and says what is wrong with it.
func Open(cfg Config) (*Certificates, error) {
	if cfg.CertFile == "" || cfg.KeyFile == "" {
		return nil, errors.New("a server needs a certificate and its key")
	}
	if cfg.RequireClient && cfg.ClientCAFile == "" {
		return nil, errors.New("callers' certificates cannot be required without the authorities that they are verified with")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	read, err := cfg.read()
	if err != nil {
		return nil, err
	}
	m, err := cfg.material(read)
	if err != nil {
		return nil, err
	}
	c := &Certificates{cfg: cfg, connections: connections{open: map[*connection]struct{}{}}}
	c.present.Store(m)
	c.makeMetrics()
	return c, nil
}

// Run looks at the files every few seconds, until ctx ends; it returns nil then.
func (c *Certificates) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	c.mu.Lock()
	c.warn()
	c.mu.Unlock()
	for {
		select {
		case <-tick.C:
			_ = c.Reload() // which has logged it
		case <-ctx.Done():
			return nil
		}
	}
}

// Reload looks at the files now. If they have changed and are in order, connections that begin from now on see what they hold; if they are
// not, everything stays as it is, which is logged once and returned. Connections that are open go on, unless the certificate of the caller
// is no longer valid by what is present then. It blocks as long as reading does.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.closeInvalid()
	next, err := c.changed()
	if err != nil {
		c.failedReloads.Inc()
		if text := err.Error(); text != c.broken {
			c.broken = text
			c.cfg.Logger.Error("the TLS files cannot be used; the last good ones stay in use until cert_file, key_file and client_ca_file are mended", "err", err)
		}
		return err
	}
	c.broken = ""
	if next != nil {
		c.present.Store(next)
		c.warned = time.Time{}
		c.cfg.Logger.Info("reloaded the TLS files", "cert_file", c.cfg.CertFile, "expires", next.expires, "client_authorities", len(next.authorities))
	}
	c.warn()
	return nil
}

func (c *Certificates) closeInvalid() {
	if n := c.connections.closeInvalid(c.present.Load()); n > 0 {
		c.cfg.Logger.Info("closed connections whose callers' certificates have ended, or are of authorities that are not in client_ca_file any longer", "connections", n)
	}
}

// changed returns what the files hold; nil if that is what is present.
func (c *Certificates) changed() (*material, error) {
	read, err := c.cfg.read()
	if err != nil {
		return nil, err
	}
	present := c.present.Load()
	if read.sum() == present.sum {
		return nil, nil
	}
	next, err := c.cfg.material(read)
	if err != nil {
		return nil, err
	}
	if now := time.Now(); now.After(next.expires) && !now.After(present.expires) {
		return nil, errors.New("the new certificate has expired already, and the present one has not")
	}
	return next, nil
}

// warn tells of the end of the certificate. The caller holds the lock.
func (c *Certificates) warn() {
	expires, now := c.present.Load().expires, time.Now()
	left := expires.Sub(now)
	if left > warnAhead || !c.warned.IsZero() && now.Sub(c.warned) < warnEvery {
		return
	}
	c.warned = now
	log := c.cfg.Logger.With("cert_file", c.cfg.CertFile, "expires", expires)
	if left <= 0 {
		log.Warn("the server's certificate, or one that it hangs on, has expired, and callers refuse it: put a new one into cert_file and key_file")
		return
	}
	log.Warn("the server's certificate, or one that it hangs on, expires soon: put a new one into cert_file and key_file")
}

// caller is the certificate that a connection's caller has shown; nil if none. It must still be what it was verified to be.
func (c *Certificates) caller(state *tls.ConnectionState) (*x509.Certificate, error) {
	if len(state.PeerCertificates) == 0 {
		return nil, nil
	}
	if err := c.present.Load().vouches(state, time.Now()); err != nil {
		return nil, err
	}
	return state.PeerCertificates[0], nil
}

// vouches is nil if the certificate that a connection began with would be taken at a time.
func (m *material) vouches(state *tls.ConnectionState, at time.Time) error {
	for _, chain := range state.VerifiedChains {
		if m.trusts(chain, at) {
			return nil
		}
	}
	if m.pool == nil {
		return refused("certificates of callers are not taken any longer")
	}
	// Its authority may have been replaced by a newer certificate of the same key.
	others := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		others.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: m.pool, Intermediates: others, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return refused("the certificate that the connection began with is not valid any longer: connect with a new one")
	}
	return nil
}

// trusts reports whether a chain that was verified once still leads to an authority, and nothing of it has expired.
func (m *material) trusts(chain []*x509.Certificate, at time.Time) bool {
	if at.After(firstEnd(chain)) {
		return false
	}
	for _, authority := range m.authorities {
		if authority.Equal(chain[len(chain)-1]) {
			return true
		}
	}
	return false
}
