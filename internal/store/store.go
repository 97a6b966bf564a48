package store

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/view"
)

// Defaults of Config.
const (
	DefaultNamespace = "/tokenbroker/"
	DefaultTimeout   = 3 * time.Second
	DefaultSyncEvery = time.Second
)

// Config says where the store is.
type Config struct {
	// Client is required. The store does not close it.
	Client *clientv3.Client
	// View is fed by Run. Required.
	View *view.View
	// Clock is required.
	Clock *clock.Clock
	// Logger is required.
	Logger *slog.Logger
	// Replica is this replica's id, for people who look at requests. Required.
	Replica string
	// Namespace is the prefix of every key, ending in "/". Default DefaultNamespace.
	Namespace string
	// Sealer protects the values of tokens. Required.
	Sealer Sealer
	// Timeout is the deadline of one call to etcd. Default DefaultTimeout.
	Timeout time.Duration
	// SyncEvery is the time between two proofs of freshness. Default DefaultSyncEvery.
	SyncEvery time.Duration
}

// Store is the cluster's keyspace in etcd, as one replica uses it.
type Store struct {
	client    *clientv3.Client
	view      *view.View
	clock     *clock.Clock
	log       *slog.Logger
	replica   string
	keys      keyspace
	sealer    Sealer
	timeout   time.Duration
	syncEvery time.Duration

	feeding sync.Mutex // held while the view and the post take in one change, so that both are of the same revision
	post    post
	compass compass

	unusable unusable
	reload   chan struct{} // asks the feed to load everything anew
}

// New checks the configuration. It starts nothing and makes no call.
func New(cfg Config) (*Store, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = DefaultNamespace
	}
	if !strings.HasSuffix(cfg.Namespace, "/") {
		return nil, fmt.Errorf("namespace %q must end in \"/\"", cfg.Namespace)
	}
	if cfg.Sealer == nil {
		return nil, errors.New("there is no sealer: what keeps tokens at rest must be said")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.SyncEvery == 0 {
		cfg.SyncEvery = DefaultSyncEvery
	}
	s := &Store{
		client: cfg.Client, view: cfg.View, clock: cfg.Clock, log: cfg.Logger, replica: cfg.Replica,
		keys: keyspace(cfg.Namespace), sealer: cfg.Sealer, timeout: cfg.Timeout, syncEvery: cfg.SyncEvery,
		reload: make(chan struct{}, 1),
	}
	s.post.init()
	return s, nil
}

// ElectionPrefix is the prefix of the election's keys in this namespace, without the slash that follows it.
func (s *Store) ElectionPrefix() string { return s.keys.election() }

// Reload asks Run to read the whole keyspace anew soon: for tokens that were added to the view.
func (s *Store) Reload() {
	select {
	case s.reload <- struct{}{}:
	default:
	}
}
