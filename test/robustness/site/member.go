package site

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
	"github.com/tokenbroker/tokenbroker/internal/netfault"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

const (
	// Heartbeats and elections are quick, but slow enough for a busy machine. etcd grants leases of 1 s and more with these.
	heartbeat = 50 * time.Millisecond
	election  = 600 * time.Millisecond
)

// Member is one member of the etcd cluster.
type Member struct {
	*Process
	Name string
	// Endpoint is its own URL for clients, past all proxies; the same in all its lives.
	Endpoint string
	// Peers are all ways between it and the other members, in both directions.
	Peers netfault.Network

	client *clientv3.Client
	listen string            // for peers, host:port
	known  string            // where the other members believe it to be, host:port
	ways   []*netfault.Proxy // those that it dials, which are its own to close
	uplink *Uplink
}

func newMember(number int) *Member {
	// The address for peers does not exist: whoever dials it is led to one of the proxies.
	return &Member{Name: fmt.Sprintf("etcd-%d", number), known: fmt.Sprintf("10.0.1.%d:2380", number)}
}

// connectMembers starts the networks of a cluster, and describes its processes. If it fails, disconnect takes down what there is.
func connectMembers(cfg Config, members []*Member, t *trouble) error {
	cluster := make([]string, len(members))
	for i, m := range members {
		clients, err := freeAddress()
		if err != nil {
			return err
		}
		m.Endpoint = "http://" + clients
		if m.listen, err = freeAddress(); err != nil {
			return err
		}
		if m.client, err = dialEtcd(m.Endpoint); err != nil {
			return err
		}
		cluster[i] = m.Name + "=http://" + m.known
	}
	for _, m := range members {
		if err := m.connect(members); err != nil {
			return err
		}
		m.Process = &Process{
			Log: filepath.Join(cfg.Dir, m.Name+".log"), name: m.Name,
			command: []string{
				cfg.Etcd, "--name", m.Name, "--data-dir", filepath.Join(cfg.Dir, m.Name),
				"--listen-client-urls", m.Endpoint, "--advertise-client-urls", m.Endpoint,
				"--listen-peer-urls", "http://" + m.listen, "--initial-advertise-peer-urls", "http://" + m.known,
				"--initial-cluster", strings.Join(cluster, ","),
				"--heartbeat-interval", fmt.Sprint(heartbeat.Milliseconds()), "--election-timeout", fmt.Sprint(election.Milliseconds()),
				"--unsafe-no-fsync", // power does not fail here, and what a killed process has written is kept
			},
			env:   []string{"HTTP_PROXY=" + m.uplink.url(), "TMPDIR=" + cfg.Dir},
			event: history.Event{Actor: m.Name}, history: cfg.History, trouble: t,
		}
	}
	return nil
}

// connect lays the ways from this member to the others.
func (m *Member) connect(members []*Member) error {
	ways := make(map[string]string)
	for _, other := range members {
		if other == m {
			continue
		}
		p, err := netfault.Start(other.listen)
		if err != nil {
			return err
		}
		m.ways = append(m.ways, p)
		m.Peers, other.Peers = append(m.Peers, p), append(other.Peers, p)
		ways[other.known] = p.Address()
	}
	var err error
	m.uplink, err = newUplink(toPeers(ways))
	return err
}

// disconnect takes down what connectMembers set up. The process has ended.
func (m *Member) disconnect() {
	netfault.Network(m.ways).Close()
	if m.uplink != nil {
		m.uplink.close()
	}
	if m.client != nil {
		_ = m.client.Close()
	}
}

// dialEtcd returns a client that is soon back when etcd is.
func dialEtcd(endpoints ...string) (*clientv3.Client, error) {
	reconnect := grpc.ConnectParams{MinConnectTimeout: time.Second}
	reconnect.Backoff.BaseDelay = 20 * time.Millisecond
	reconnect.Backoff.Multiplier = 1.6
	reconnect.Backoff.MaxDelay = 200 * time.Millisecond
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialOptions: []grpc.DialOption{grpc.WithConnectParams(reconnect)},
		Logger: embedded.ZapLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return nil, fmt.Errorf("dialling etcd: %w", err)
	}
	return c, nil
}

// Client returns the suite's own client of this member alone, past all proxies. It ends with the site.
func (m *Member) Client() *clientv3.Client { return m.client }

// Start starts the process with the data that it had, and returns when it listens for the other members, or fails if it ends before. The
// member then may not serve yet, for which it needs a majority. Start does nothing if the process runs.
func (m *Member) Start(ctx context.Context) error {
	l, fresh, err := m.start()
	if err != nil || !fresh {
		return err
	}
	if err := eventually(ctx, func(ctx context.Context) error {
		if !l.running() {
			return finalError{fmt.Errorf("it ended at once:\n%s", tail(m.Log, l.from))}
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.listen)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}); err != nil {
		return fmt.Errorf("starting %s: %w", m.Name, err)
	}
	return nil
}

// serves returns nil when the member reads what a majority has agreed on.
func (m *Member) serves(ctx context.Context) error {
	if !m.Running() {
		return finalError{fmt.Errorf("%s has ended:\n%s", m.Name, tail(m.Log, 0))}
	}
	if _, err := m.client.Get(ctx, "k"); err != nil {
		return fmt.Errorf("reading from %s: %w", m.Name, err)
	}
	return nil
}
