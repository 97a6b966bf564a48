package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
)

// config returns a fast member on free loopback ports.
func config(t *testing.T) embedded.Config {
	t.Helper()
	return embedded.Config{
		DataDir:       t.TempDir(),
		ListenClient:  "http://127.0.0.1:0",
		ListenPeer:    "http://127.0.0.1:0",
		Tick:          10 * time.Millisecond,
		Election:      50 * time.Millisecond,
		UnsafeNoFsync: true,
	}
}

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func dial(t *testing.T, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: embedded.ZapLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestDataSurvivesRestart(t *testing.T) {
	cfg := config(t)
	s := start(t, cfg)
	if _, err := dial(t, s.Endpoint()).Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Close()

	s = start(t, cfg)
	got, err := dial(t, s.Endpoint()).Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Errorf("after a restart k is %v, want v", got.Kvs)
	}
}

func TestStartNamesAPortInUse(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, side := range []string{"client", "peer"} {
		cfg := config(t)
		taken := "http://" + l.Addr().String()
		if side == "client" {
			cfg.ListenClient = taken
		} else {
			cfg.ListenPeer = taken
		}
		_, err = embedded.Start(t.Context(), cfg)
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), l.Addr().String()) {
			t.Errorf("%s port in use: %v, want EADDRINUSE and the address", side, err)
		}
	}
}

func TestStartRefusesADataFolderInUse(t *testing.T) {
	cfg := config(t)
	start(t, cfg)
	if _, err := embedded.Start(t.Context(), cfg); !errors.Is(err, embedded.ErrInUse) {
		t.Errorf("starting on a held data folder: %v, want ErrInUse", err)
	}
}

func TestStartFailsOnADamagedDatabase(t *testing.T) {
	cfg := config(t)
	start(t, cfg).Close()
	path := filepath.Join(cfg.DataDir, "member", "snap", "db")
	if err := os.WriteFile(path, bytes.Repeat([]byte("garbage"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), cfg.DataDir) {
		t.Errorf("starting on a damaged database: %v, want an error that names the folder", err)
	}
}

func TestStartFailsOnADamagedLog(t *testing.T) {
	for reason, damage := range map[string]func([]byte){
		"crc mismatch":        func(log []byte) { log[bytes.Index(log, []byte("mark"))] ^= 1 },
		"damaged data folder": func(log []byte) { copy(log, bytes.Repeat([]byte("garbage"), 4096)) },
	} {
		cfg := config(t)
		s := start(t, cfg)
		if _, err := dial(t, s.Endpoint()).Put(t.Context(), "k", "mark"); err != nil {
			t.Fatal(err)
		}
		s.Close()
		path := filepath.Join(cfg.DataDir, "member", "wal", "0000000000000000-0000000000000000.wal")
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damage(log)
		if err := os.WriteFile(path, log, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := embedded.Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: Start returned %v", reason, err)
		}
	}
}

func TestStartOfALoneMemberOfSeveralEndsWithItsContext(t *testing.T) {
	cfg := config(t)
	cfg.Name = "a"
	// Nobody listens on ports 1 and 3; the member's own address must only match.
	cfg.AdvertisePeer = "http://127.0.0.1:2"
	cfg.InitialCluster = "a=http://127.0.0.1:2,b=http://127.0.0.1:1,c=http://127.0.0.1:3"
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := embedded.Start(ctx, cfg)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "majority of the 3 members") {
		t.Errorf("a lone member of three started: %v, want a deadline and the missing majority", err)
	}
}

func TestBeginOfALoneMemberOfSeveralReturnsAndItCanBeClosed(t *testing.T) {
	cfg := config(t)
	cfg.Name = "a"
	cfg.AdvertisePeer = "http://127.0.0.1:2" // as above
	cfg.InitialCluster = "a=http://127.0.0.1:2,b=http://127.0.0.1:1,c=http://127.0.0.1:3"
	s, err := embedded.Begin(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.WithoutCancel(t.Context())) }()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := dial(t, s.Endpoint()).Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a majority a client gets %v, want no answer", err)
	}
	select {
	case <-s.Ready():
		t.Error("it is ready without the others")
	default:
	}
	s.Close()
	if err := <-ended; err != nil {
		t.Errorf("closing it is a failure: %v", err)
	}
	again, err := embedded.Begin(t.Context(), cfg)
	if err != nil {
		t.Fatalf("its data folder is not free at once: %v", err)
	}
	again.Close()
}

func TestStartRefusesBadConfigs(t *testing.T) {
	for name, change := range map[string]func(*embedded.Config){
		"no data folder given":       func(c *embedded.Config) { c.DataDir = "" },
		"listening URL for clients":  func(c *embedded.Config) { c.ListenClient = "127.0.0.1:1" },
		"listening URL for members":  func(c *embedded.Config) { c.ListenPeer = "ftp://127.0.0.1:1" },
		"advertised URL for clients": func(c *embedded.Config) { c.AdvertiseClient = "http://host" },
		"advertised URL for members": func(c *embedded.Config) { c.AdvertisePeer = "http://host:1/path" },
		"whole, positive millisec":   func(c *embedded.Config) { c.Tick = 1500 * time.Microsecond },
		"election-timeout":           func(c *embedded.Config) { c.Election = 40 * time.Millisecond },
		"must not be negative":       func(c *embedded.Config) { c.QuotaBytes = -1 },
		"clusterState":               func(c *embedded.Config) { c.InitialClusterState = "old" },
		"TLS":                        func(c *embedded.Config) { c.ListenClient = "https://127.0.0.1:0" },
	} {
		cfg := config(t)
		change(&cfg)
		s, err := embedded.Start(t.Context(), cfg)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: Start returned %v", name, err)
		}
	}
}

func TestCloseEndsOpenWatchesAtOnceAndMayBeRepeated(t *testing.T) {
	cfg := config(t)
	s := start(t, cfg)
	cfg.ListenClient = s.Endpoint()
	c := dial(t, s.Endpoint())
	watch := c.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
	<-watch

	begun := time.Now()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(s.Close)
	}
	wg.Wait()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("Close took %v with a watch open", took)
	}

	// The end of the member must not look like the end of the watch: it goes on when the member is back.
	start(t, cfg)
	if _, err := c.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if got := <-watch; got.Err() != nil || len(got.Events) != 1 {
		t.Errorf("after a restart the watch delivered %d events, error %v", len(got.Events), got.Err())
	}
}

func TestRunClosesWhenItsContextEnds(t *testing.T) {
	s := start(t, config(t))
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	if _, err := dial(t, s.Endpoint()).Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run returned %v", err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.Endpoint(), "http://"))
	if err == nil {
		_ = conn.Close()
		t.Error("the member still listens after Run returned")
	}
}

func TestLogHasNoStoredValueAndNoAlarmAtClosing(t *testing.T) {
	var log bytes.Buffer
	cfg := config(t)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, cfg)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: embedded.ZapLogger(cfg.Logger)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const secret = "s3cr3t-value"
	if _, err := c.Put(t.Context(), "k", secret); err != nil {
		t.Fatal(err)
	}
	put := clientv3.OpPut("k", secret)
	if _, err := c.Txn(t.Context()).If(clientv3.Compare(clientv3.Version("k"), ">", 0)).Then(put).Commit(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s.Close()

	if strings.Contains(log.String(), secret) {
		t.Error("the log contains a stored value")
	}
	before, after, found := strings.Cut(log.String(), "closing etcd server")
	if !found || !strings.Contains(before, "local_member_id=") {
		t.Errorf("the log lacks etcd's own entries with snake_case names:\n%s", log.String())
	}
	if strings.Contains(after, "level=ERROR") {
		t.Errorf("closing raised an alarm:\n%s", after)
	}
}
