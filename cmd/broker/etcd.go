package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/internal/embedded"
)

// How the connection to etcd is watched: a network that vanished without a word is noticed within dead time, by the kernel's
// TCP_USER_TIMEOUT, as soon as anything is sent; that is short enough for a leader to keep its session through another member. gRPC's own
// pings, which also notice a member that stands still, come no oftener than every 10 s, whatever is asked for here.
const (
	etcdDialTimeout   = 3 * time.Second
	etcdKeepAlive     = time.Second
	etcdDeadTime      = time.Second
	etcdRedialFirst   = 100 * time.Millisecond
	etcdRedialLongest = 2 * time.Second
)

// dialEtcd returns a client. etcd need not be there yet.
func dialEtcd(c etcdConfig, endpoints []string, log *slog.Logger) (*clientv3.Client, error) {
	var secure *tls.Config
	if strings.HasPrefix(endpoints[0], "https://") {
		var err error
		if secure, err = c.TLS.client(); err != nil {
			return nil, fmt.Errorf("connecting to etcd: %w", err)
		}
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: secure, Username: c.Username, Password: c.Password.Reveal(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// gRPC's own back-off grows to two minutes, in which a replica would stay cut off after etcd is back.
			Backoff:           backoff.Config{BaseDelay: etcdRedialFirst, Multiplier: 1.6, Jitter: 0.2, MaxDelay: etcdRedialLongest},
			MinConnectTimeout: etcdDialTimeout,
		}), grpc.WithChainUnaryInterceptor(authenticateLater())},
		DialTimeout: etcdDialTimeout, DialKeepAliveTime: etcdKeepAlive, DialKeepAliveTimeout: etcdDeadTime, PermitWithoutStream: true,
		// It warns of each call that failed, and so do those who make the calls.
		Logger: embedded.ZapLogger(log).WithOptions(zap.IncreaseLevel(zap.ErrorLevel)),
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to etcd: %w", err)
	}
	return client, nil
}

// authenticateLater lets clientv3.New return although etcd is away. Given a password, New asks etcd for a token of its own, and fails
// if that does; told that none is needed it does not mind, and asks when a call is refused for want of one. So only its first question
// is answered in etcd's stead.
//
// Who comes with a client certificate is not refused for want of a token: etcd takes the certificate's name for the user, and denies what
// that one may not do. Before the first token, this is the same.
func authenticateLater() grpc.UnaryClientInterceptor {
	var asked, authenticated atomic.Bool
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		authenticates := method == etcdserverpb.Auth_Authenticate_FullMethodName
		if authenticates && !asked.Swap(true) {
			return rpctypes.ErrGRPCAuthNotEnabled
		}
		err := invoke(ctx, method, req, reply, conn, opts...)
		switch {
		case authenticates && err == nil:
			authenticated.Store(true)
		case status.Code(err) == codes.PermissionDenied && asked.Load() && !authenticated.Load():
			return rpctypes.ErrGRPCUserEmpty
		}
		return err
	}
}

// startEmbedded starts the etcd server inside the process, and returns when it listens: in a cluster of several it takes a majority until
// it serves.
func startEmbedded(ctx context.Context, c *embeddedConfig, log *slog.Logger) (*embedded.Server, error) {
	members := make([]string, 0, len(c.InitialCluster))
	for _, name := range slices.Sorted(maps.Keys(c.InitialCluster)) {
		members = append(members, name+"="+c.InitialCluster[name])
	}
	state := "new"
	if c.Existing {
		state = "existing"
	}
	return embedded.Begin(ctx, embedded.Config{
		Name: c.Name, DataDir: c.DataDir, ListenClient: c.ListenClient, ListenPeer: c.ListenPeer, AdvertisePeer: c.AdvertisePeer,
		PeerTLS:        embedded.TLS{CAFile: c.PeerTLS.CA, CertFile: c.PeerTLS.Cert, KeyFile: c.PeerTLS.Key},
		InitialCluster: strings.Join(members, ","), InitialClusterState: state, Logger: log,
	})
}

// withEtcd starts the embedded etcd if there is to be one, connects, does the work, and takes both down again. The work does not wait for
// any etcd to serve. Its context ends, with the cause, when the embedded etcd fails.
func withEtcd(ctx context.Context, c etcdConfig, log *slog.Logger, work func(context.Context, *clientv3.Client) error) error {
	log = log.With("component", "etcd")
	if c.Embedded == nil {
		return connected(ctx, c, c.Endpoints, log, func(ctx context.Context, client *clientv3.Client) error {
			defer lookAt(ctx, client, log)()
			return work(ctx, client)
		})
	}
	log.Info("starting the embedded etcd", "data_dir", c.Embedded.DataDir, "members", max(1, len(c.Embedded.InitialCluster)))
	member, err := startEmbedded(ctx, c.Embedded, log)
	if err != nil {
		return err
	}
	working, fail := context.WithCancelCause(ctx)
	var tending sync.WaitGroup
	ended := make(chan error, 1)
	tending.Go(func() {
		err := member.Run(context.WithoutCancel(ctx))
		fail(err)
		ended <- err
	})
	tending.Go(func() {
		select {
		case <-member.Ready():
			log.Info("the embedded etcd serves", "endpoint", member.Endpoint())
		case <-working.Done():
		}
	})
	err = connected(working, c, []string{member.Endpoint()}, log, work)
	member.Close()
	tending.Wait()
	return errors.Join(err, <-ended)
}

// connected does the work with a client.
func connected(ctx context.Context, c etcdConfig, endpoints []string, log *slog.Logger, work func(context.Context, *clientv3.Client) error) error {
	client, err := dialEtcd(c, endpoints, log)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // its error is that of its context
	return work(ctx, client)
}

// lookAt looks at each of the client's endpoints, until that is done or the returned function is called.
func lookAt(ctx context.Context, client *clientv3.Client, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var looks sync.WaitGroup
	for _, endpoint := range client.Endpoints() {
		looks.Go(func() { look(ctx, client, endpoint, log) })
	}
	return func() {
		cancel()
		looks.Wait()
	}
}

// look tells the operator once if an etcd cannot be reached, or is of a version that is known to break what the broker relies on.
func look(ctx context.Context, client *clientv3.Client, endpoint string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, etcdDialTimeout)
	defer cancel()
	status, err := client.Status(ctx, endpoint)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
	case err != nil:
		log.Error("an etcd does not answer; trying on", "endpoint", endpoint, "err", err,
			"remedy", "see that it runs, and that etcd.endpoints, etcd.tls, etcd.username and etcd.password are right")
	case unsafeVersion(status.Version):
		log.Warn("this etcd has known faults: stale reads after a pause, and leases that seem alive after they were revoked",
			"endpoint", endpoint, "version", status.Version, "remedy", "update it to 3.5.33, 3.6.14, 3.7.1 or later")
	}
}

// unsafeVersion reports whether a version lacks the fixes of etcd's issues 20418 and 20615.
func unsafeVersion(version string) bool {
	var minor, patch int
	if _, err := fmt.Sscanf(version, "3.%d.%d", &minor, &patch); err != nil {
		return false
	}
	least := map[int]int{5: 33, 6: 14, 7: 1}
	return minor < 5 || patch < least[minor]
}
