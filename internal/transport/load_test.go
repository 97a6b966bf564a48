package transport_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Callers call and watch on connections that stay, and on new ones, while the pair, and then the authorities, are replaced again and again.
func TestReplacingCertificatesUnderLoadFailsNoCallAndEndsNoStream(t *testing.T) {
	authority := newAuthority(t, "authority")
	f := newFiles(t, authority.issue("broker"), authority)
	c := open(t, f)
	l := listenTCP(t)
	serve(t, c, l)
	cfg := shown(authority, authority.issue("shop"))
	var stopped atomic.Bool
	var calls, messages, connections atomic.Int64
	var running sync.WaitGroup
	defer func() { stopped.Store(true); running.Wait() }()
	for range 4 {
		client, _ := caller(t, l, cfg)
		stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			for !stopped.Load() {
				if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
					t.Errorf("a call: %v", err)
					return
				}
				calls.Add(1)
			}
		})
		running.Go(func() {
			for !stopped.Load() {
				if _, err := stream.Recv(); err != nil {
					t.Errorf("a stream: %v", err)
					return
				}
				messages.Add(1)
			}
		})
		running.Go(func() {
			for !stopped.Load() {
				conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(cfg)), grpc.WithDisableRetry())
				if err == nil {
					_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
					_ = conn.Close()
				}
				if err != nil {
					t.Errorf("a call on a new connection: %v", err)
					return
				}
				connections.Add(1)
			}
		})
	}
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	// onward waits until all kinds of callers have got on.
	onward := func() {
		t.Helper()
		a, b, d := calls.Load(), messages.Load(), connections.Load()
		for calls.Load() < a+8 || messages.Load() < b+4 || connections.Load() < d+4 {
			if t.Failed() {
				t.FailNow()
			}
			select {
			case <-look.C:
			case <-t.Context().Done():
			}
		}
	}
	replace := func(change func()) {
		t.Helper()
		change()
		if err := c.Reload(); err != nil {
			t.Fatal(err)
		}
		onward()
	}
	onward()
	for range 4 {
		next := authority.issue("broker")
		replace(func() { f.putPair(t, next) })
		if got := shownBy(t, l, cfg); !got.Equal(next.cert) {
			t.Errorf("a new connection sees %v", got.SerialNumber)
		}
		other := newAuthority(t, "other")
		replace(func() { put(t, f.authorities, other.certPEM(), authority.certPEM()) })
		replace(func() { put(t, f.authorities, authority.certPEM()) })
	}
	t.Logf("%d calls, %d messages, %d new connections", calls.Load(), messages.Load(), connections.Load())
}
