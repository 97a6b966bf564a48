package embedded_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
	"github.com/tokenbroker/tokenbroker/test/certtest"
)

func TestClientsWithoutACertificateOfTheAuthorityAreRefused(t *testing.T) {
	issuer := certtest.New(t)
	own := issuer.Issue(t, certtest.Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	cfg := config(t)
	cfg.ListenClient = "https://127.0.0.1:0"
	cfg.ClientTLS = embedded.TLS{CertFile: own.Cert, KeyFile: own.Key, CAFile: issuer.File}
	s := start(t, cfg)
	if got := s.Endpoint(); !strings.HasPrefix(got, "https://127.0.0.1:") {
		t.Fatalf("endpoint %v, want https", got)
	}

	authority := x509.NewCertPool()
	pemCert, err := os.ReadFile(issuer.File)
	if err != nil {
		t.Fatal(err)
	}
	authority.AppendCertsFromPEM(pemCert)
	pair, err := tls.LoadX509KeyPair(own.Cert, own.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{s.Endpoint()},
		TLS:       &tls.Config{RootCAs: authority, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13},
		Logger:    embedded.ZapLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Put(t.Context(), "k", "v"); err != nil {
		t.Errorf("with a certificate: %v", err)
	}

	dialer := tls.Dialer{Config: &tls.Config{RootCAs: authority, MinVersion: tls.VersionTLS13}}
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.Endpoint(), "https://"))
	if err != nil {
		return
	}
	defer conn.Close()
	// TLS 1.3: the server's refusal arrives with the first read.
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err = conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without a certificate: %v, want a refusal that names it", err)
	}
}
