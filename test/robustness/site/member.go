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
	// Endpoint is its own URL for clients; the same in all its lives.
	Endpoint string
	// Peers are all ways between it and the other members, in both directions.
	Peers netfault.Network

	client  *clientv3.Client
	ip      string            // its own, if it gets one
	clients string            // where it listens for them, host:port
	listen  string            // for peers
	known   string            // where the other members believe it to be
	ways    []*netfault.Proxy // those that it dials, which are its own to close
	uplink  *Uplink
}

func newMember(number int) *Member {
	m := &Member{Name: fmt.Sprintf("etcd-%d", number), ip: fmt.Sprintf("10.0.1.%d", number)}
	m.known = m.ip + ":2380" // nobody listens there: whoever dials it is led to one of the proxies
	return m
}

// connectMembers starts the networks of a cluster, and describes its processes. If it fails, disconnect takes down what there is.
func connectMembers(cfg Config, members []*Member, n *network, t *trouble) error {
	cluster := make([]string, len(members))
	for i, m := range members {
		at, err := n.join(m.ip)
		if err != nil {
			return err
		}
		m.Process = &Process{
			Log: filepath.Join(cfg.Dir, m.Name+".log"), name: m.Name, host: at,
			event: history.Event{Actor: m.Name}, history: cfg.History, trouble: t,
		}
		if m.clients, err = at.free(); err != nil {
			return err
		}
		m.Endpoint = "http://" + m.clients
		if m.listen, err = at.free(); err != nil {
			return err
		}
		if m.client, err = m.dialEtcd(); err != nil {
			return err
		}
		cluster[i] = m.Name + "=http://" + m.known
	}
	for _, m := range members {
		if err := m.connect(members); err != nil {
			return err
		}
		m.command = []string{
			cfg.Etcd, "--name", m.Name, "--data-dir", filepath.Join(cfg.Dir, m.Name),
			"--listen-client-urls", m.Endpoint, "--advertise-client-urls", m.Endpoint,
			"--listen-peer-urls", "http://" + m.listen, "--initial-advertise-peer-urls", "http://" + m.known,
			"--initial-cluster", strings.Join(cluster, ","),
			"--heartbeat-interval", fmt.Sprint(heartbeat.Milliseconds()), "--election-timeout", fmt.Sprint(election.Milliseconds()),
			"--unsafe-no-fsync", // power does not fail here, and what a killed process has written is kept
		}
		m.env = []string{"HTTP_PROXY=" + m.uplink.url(), "TMPDIR=" + cfg.Dir}
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
		l, err := listen(nil, loopbackIP+":0")
		if err != nil {
			return fmt.Errorf("starting a proxy: %w", err)
		}
		p := netfault.Serve(l, func(ctx context.Context) (net.Conn, error) { return other.host.dial(ctx, other.listen) })
		m.ways = append(m.ways, p)
		m.Peers, other.Peers = append(m.Peers, p), append(other.Peers, p)
		ways[other.known] = p.Address()
	}
	var err error
	m.uplink, err = newUplink(m.host, toPeers(ways))
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

// dialEtcd returns a client of this member alone that is soon back when the member is, past all that breaks.
func (m *Member) dialEtcd() (*clientv3.Client, error) {
	reconnect := grpc.ConnectParams{MinConnectTimeout: time.Second}
	reconnect.Backoff.BaseDelay = 20 * time.Millisecond
	reconnect.Backoff.Multiplier = 1.6
	reconnect.Backoff.MaxDelay = 200 * time.Millisecond
	c, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{m.Endpoint},
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(reconnect), grpc.WithContextDialer(m.host.enter)},
		Logger:      embedded.ZapLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", m.Name, err)
	}
	return c, nil
}

// dial reaches the member as brokers do.
func (m *Member) dial(ctx context.Context) (net.Conn, error) {
	return m.host.dialAsBroker(ctx, m.clients)
}

// Client returns the suite's own client of this member alone, past all that breaks. It ends with the site.
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
		conn, err := m.host.enter(ctx, m.listen)
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
