package main

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
	"github.com/tokenbroker/tokenbroker/test/certtest"
)

func TestEtcdIsReachedByTLSWithAClientCertificate(t *testing.T) {
	issuer := certtest.New(t)
	own := issuer.Issue(t, certtest.Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	files := tlsFiles{CA: issuer.File, Cert: own.Cert, Key: own.Key}
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
