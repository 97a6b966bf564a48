package etcdtest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
	"github.com/tokenbroker/tokenbroker/internal/netfault"
)

// startTimeout bounds the start of members. It is long because a loaded machine is slow, not etcd.
const startTimeout = 30 * time.Second

// Server is one member of an etcd cluster. Its methods are safe for concurrent use.
type Server struct {
	cfg embedded.Config
	// The other members reach this one through here. etcd leaves connections from its peers open when it has stopped, for seconds;
	// cutting them leaves no goroutine behind.
	peers *Proxy

	mu      sync.Mutex // held while the member starts and stops
	running *embedded.Server
}

// Start starts a cluster of one.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return StartCluster(tb, 1).Members[0]
}

// Endpoint returns the URL for clients. It stays the same across restarts.
func (s *Server) Endpoint() string { return s.cfg.ListenClient }

// DataDir returns the folder in which the member keeps its data: its log of changes, which forgets nothing soon, and its database.
func (s *Server) DataDir() string { return s.cfg.DataDir }

// Client returns a client of this member alone: see Dial.
func (s *Server) Client(tb testing.TB, opts ...grpc.DialOption) *clientv3.Client {
	tb.Helper()
	return Dial(tb, []string{s.Endpoint()}, opts...)
}

// Stop stops the member, if it runs, and keeps its data. All clients' streams end. In a cluster it takes a second.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		s.running.Close() // hands the leadership of the cluster over, for which it needs its peers
		s.peers.Cut()
		s.running = nil
	}
}

// Restart stops the member, if it runs, and starts it again on the same addresses and data. It returns when the member serves.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Stop()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	if err := s.start(ctx); err != nil {
		tb.Fatalf("restarting etcd: %v", err)
	}
}

func (s *Server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers.Heal()
	running, err := embedded.Start(ctx, s.cfg)
	if err != nil {
		return err
	}
	s.running = running
	return nil
}

// Cluster is an etcd cluster of several members.
type Cluster struct{ Members []*Server }

// StartCluster starts a cluster of n members and returns when all of them serve.
func StartCluster(tb testing.TB, n int) *Cluster {
	tb.Helper()
	// Another process may take a port between its choice and its use. Then all members get new ones.
	for {
		c := newCluster(tb, n)
		err := c.start(tb.Context())
		if err == nil {
			return c
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			tb.Fatalf("starting etcd: %v", err)
		}
	}
}

func newCluster(tb testing.TB, n int) *Cluster {
	tb.Helper()
	c := &Cluster{Members: make([]*Server, n)}
	all := make([]string, n)
	for i := range c.Members {
		name, peer := "m"+strconv.Itoa(i), "http://"+FreeAddress(tb)
		peers := newProxy(tb, peer)
		c.Members[i] = &Server{peers: peers, cfg: embedded.Config{
			Name:          name,
			DataDir:       tb.TempDir(),
			ListenClient:  "http://" + FreeAddress(tb),
			ListenPeer:    peer,
			AdvertisePeer: peers.Endpoint(),
			Tick:          30 * time.Millisecond,
			Election:      300 * time.Millisecond,
			PasswordCost:  4, // bcrypt's least: the race detector makes the usual one last longer than calls do
			UnsafeNoFsync: true,
		}}
		tb.Cleanup(c.Members[i].Stop)
		all[i] = name + "=" + peers.Endpoint()
	}
	for _, m := range c.Members {
		m.cfg.InitialCluster = strings.Join(all, ",")
	}
	return c
}

// start starts all members. If one fails, it stops the others and returns the first error.
func (c *Cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	errs := make(chan error)
	for _, m := range c.Members {
		go func() { errs <- m.start(ctx) }()
	}
	var first error
	for range c.Members {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	if first != nil {
		for _, m := range c.Members {
			m.Stop()
		}
	}
	return first
}

// Folder is what has to be known of a member to make its data folder for it: the flags of `etcdutl snapshot restore`.
type Folder struct{ Name, DataDir, InitialCluster, AdvertisePeer string }

// Refill stops all members, takes their data away, has fill make each of them other data, and starts them again. Without fill they
// start with nothing, as after the loss of everything. fill finds no folder, and may leave none.
func (c *Cluster) Refill(tb testing.TB, fill func(Folder)) {
	tb.Helper()
	var stopping sync.WaitGroup
	for _, m := range c.Members {
		stopping.Go(m.Stop)
	}
	stopping.Wait()
	for _, m := range c.Members {
		if err := os.RemoveAll(m.cfg.DataDir); err != nil {
			tb.Fatalf("taking etcd's data away: %v", err)
		}
		if fill != nil {
			fill(Folder{Name: m.cfg.Name, DataDir: m.cfg.DataDir, InitialCluster: m.cfg.InitialCluster, AdvertisePeer: m.cfg.AdvertisePeer})
		}
	}
	if err := c.start(tb.Context()); err != nil {
		tb.Fatalf("starting etcd on other data: %v", err)
	}
}

// Endpoints returns the URLs of all members.
func (c *Cluster) Endpoints() []string {
	urls := make([]string, len(c.Members))
	for i, m := range c.Members {
		urls[i] = m.Endpoint()
	}
	return urls
}

// Client returns a client of all members: see Dial.
func (c *Cluster) Client(tb testing.TB, opts ...grpc.DialOption) *clientv3.Client {
	tb.Helper()
	return Dial(tb, c.Endpoints(), opts...)
}

// Leader returns the member that leads the cluster, waiting for one to be elected.
func (c *Cluster) Leader(tb testing.TB) *Server {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	client := c.Client(tb)
	for ctx.Err() == nil {
		for _, m := range c.Members {
			status, err := client.Status(ctx, m.Endpoint())
			if err == nil && status.Leader == status.Header.MemberId {
				return m
			}
		}
	}
	tb.Fatal("the etcd cluster elected no leader")
	return nil
}

// Dial returns a client of the members at these endpoints. It reconnects within half a second, so that what a test measures is not
// the client's back-off, and sends no keep-alive pings: it does not notice a silent connection.
func Dial(tb testing.TB, endpoints []string, opts ...grpc.DialOption) *clientv3.Client {
	tb.Helper()
	reconnect := grpc.ConnectParams{MinConnectTimeout: time.Second}
	reconnect.Backoff.BaseDelay = 20 * time.Millisecond
	reconnect.Backoff.Multiplier = 1.6
	reconnect.Backoff.MaxDelay = 500 * time.Millisecond
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		DialOptions: append([]grpc.DialOption{grpc.WithConnectParams(reconnect)}, opts...),
		Logger:      embedded.ZapLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		tb.Fatalf("dialling etcd: %v", err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// FreeAddress returns a loopback address that nobody listens on: see netfault.FreeAddress.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	address, err := netfault.FreeAddress("127.0.0.1", net.Listen)
	if err != nil {
		tb.Fatal(err)
	}
	return address
}
