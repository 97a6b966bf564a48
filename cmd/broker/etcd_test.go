package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
)

// writeCertificates puts an authority and a pair that it signed for 127.0.0.1 into files.
func writeCertificates(t *testing.T) tlsFiles {
	t.Helper()
	dir := t.TempDir()
	files := tlsFiles{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	write := func(path, kind string, der []byte) {
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(files.CA, "CERTIFICATE", der)
	write(files.Cert, "CERTIFICATE", der)
	write(files.Key, "PRIVATE KEY", private)
	return files
}

func TestEtcdIsReachedByTLSWithAClientCertificate(t *testing.T) {
	files := writeCertificates(t)
	member, err := embedded.Start(t.Context(), embedded.Config{
		DataDir: t.TempDir(), ListenClient: "https://127.0.0.1:0", ListenPeer: "http://127.0.0.1:0", UnsafeNoFsync: true,
		ClientTLS: embedded.TLS{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	try := func(tls tlsFiles) error {
		c := etcdConfig{Endpoints: []string{member.Endpoint()}, TLS: tls}
		return withEtcd(t.Context(), c, slog.New(slog.DiscardHandler), func(ctx context.Context, client *clientv3.Client) error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			_, err := client.Get(ctx, "key")
			return err
		})
	}
	if err := try(files); err != nil {
		t.Error(err)
	}
	if err := try(tlsFiles{CA: files.CA}); err == nil {
		t.Error("connected without a client certificate")
	}
	if err := try(tlsFiles{Cert: files.Cert, Key: files.Key}); err == nil {
		t.Error("an unknown authority was trusted")
	}
	if err := try(tlsFiles{CA: files.Key}); err == nil {
		t.Error("a key was taken for an authority")
	}
}

func TestEmbeddedEtcdIsGoneWhenTheWorkIsDone(t *testing.T) {
	dir := t.TempDir()
	c := etcdConfig{Embedded: &embeddedConfig{DataDir: dir, Name: "x", ListenClient: "http://127.0.0.1:0", ListenPeer: "http://127.0.0.1:0"}}
	began := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	err := withEtcd(ctx, c, slog.New(slog.DiscardHandler), func(ctx context.Context, client *clientv3.Client) error {
		if _, err := client.Put(ctx, "key", "value"); err != nil {
			t.Error(err)
		}
		close(began)
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// Its folder is free again at once.
	if err := withEtcd(t.Context(), c, slog.New(slog.DiscardHandler), func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.Get(ctx, "key")
		if err == nil && len(resp.Kvs) != 1 {
			t.Errorf("%d keys", len(resp.Kvs))
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
