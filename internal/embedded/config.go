package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
)

// Config describes one member. Only DataDir is required: the zero value of all else is a cluster of one on etcd's usual loopback
// ports.
type Config struct {
	// Name is the member's name, unique in the cluster. Default "broker".
	Name string
	// DataDir is the folder that holds all of the member's state. It is created, readable for its owner only. No two processes may
	// use it at once.
	DataDir string

	// ListenClient is the URL to serve clients on, http or https, with the host "localhost" or an IP address. Default
	// "http://localhost:2379". Port 0 picks a free port: see Server.Endpoint.
	ListenClient string
	// ListenPeer is the URL to serve other members on. Default "http://localhost:2380". Port 0 suits a cluster of one only.
	ListenPeer string
	// AdvertiseClient and AdvertisePeer are the URLs under which clients and members reach this one. Default: the listening URLs.
	AdvertiseClient, AdvertisePeer string

	// ClientTLS and PeerTLS serve https URLs. Their zero values serve http only.
	ClientTLS, PeerTLS TLS

	// InitialCluster lists all members as "name=peerURL,name=peerURL", this one included. Default: this member alone. Read only
	// until the data folder is initialised.
	InitialCluster string
	// InitialClusterState is "new" (the default), or "existing" when this member was added to a running cluster.
	InitialClusterState string
	// InitialClusterToken tells clusters apart that once shared addresses. Default "tokenbroker".
	InitialClusterToken string

	// Tick is the interval of heartbeats between members, in whole milliseconds. Default 100 ms.
	Tick time.Duration
	// Election is how long a member waits without a heartbeat before it stands for election: at least 5 ticks, at most 50 s.
	// Default 1 s. It also bounds leases: etcd grants none shorter than 1.5 times this, rounded up to a second.
	Election time.Duration

	// QuotaBytes bounds the database; etcd refuses writes when it is reached. Default 2 GiB, etcd's own.
	QuotaBytes int64
	// Compaction is how much history is kept, by a compaction every tenth of it (at most hourly). Default 1 h.
	Compaction time.Duration

	// PasswordCost is that of bcrypt for users' passwords. Default 10, etcd's own; less is for tests only.
	PasswordCost uint
	// UnsafeNoFsync acknowledges writes that a power failure may undo. For tests and demonstrations only.
	UnsafeNoFsync bool
	// Logger receives etcd's log. Default: nothing is logged.
	Logger *slog.Logger
}

// TLS names the files for one side's TLS. The zero value is plaintext.
type TLS struct {
	// CertFile and KeyFile are the member's PEM certificate and key. The certificate is read anew for each connection.
	CertFile, KeyFile string
	// CAFile, if set, holds the PEM certificates of the authorities that must have signed the certificate of whoever connects.
	CAFile string
}

func (t TLS) info() transport.TLSInfo {
	return transport.TLSInfo{CertFile: t.CertFile, KeyFile: t.KeyFile, TrustedCAFile: t.CAFile, ClientCertAuth: t.CAFile != ""}
}

// etcd returns etcd's form of c. It checks what etcd would report without naming the field, or would not report at all.
func (c Config) etcd() (*embed.Config, error) {
	if c.DataDir == "" {
		return nil, errors.New("no data folder given")
	}
	if c.Tick%time.Millisecond != 0 || c.Election%time.Millisecond != 0 || c.Tick < 0 || c.Election < 0 {
		return nil, fmt.Errorf("tick %v and election %v must be whole, positive milliseconds", c.Tick, c.Election)
	}
	if c.Compaction < 0 || c.QuotaBytes < 0 {
		return nil, fmt.Errorf("compaction %v and quota %d must not be negative", c.Compaction, c.QuotaBytes)
	}
	to := embed.NewConfig()
	to.Name = cmp.Or(c.Name, "broker")
	to.Dir = c.DataDir
	for _, u := range []struct {
		what, url string
		to        *[]url.URL
	}{
		{"listening URL for clients", cmp.Or(c.ListenClient, embed.DefaultListenClientURLs), &to.ListenClientUrls},
		{"advertised URL for clients", cmp.Or(c.AdvertiseClient, c.ListenClient, embed.DefaultListenClientURLs), &to.AdvertiseClientUrls},
		{"listening URL for members", cmp.Or(c.ListenPeer, embed.DefaultListenPeerURLs), &to.ListenPeerUrls},
		{"advertised URL for members", cmp.Or(c.AdvertisePeer, c.ListenPeer, embed.DefaultListenPeerURLs), &to.AdvertisePeerUrls},
	} {
		parsed, err := types.NewURLs([]string{u.url})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.what, err)
		}
		if parsed[0].Scheme != "http" && parsed[0].Scheme != "https" {
			return nil, fmt.Errorf("%s: scheme %q is neither http nor https", u.what, parsed[0].Scheme)
		}
		*u.to = parsed
	}
	to.ClientTLSInfo, to.PeerTLSInfo = c.ClientTLS.info(), c.PeerTLS.info()

	to.InitialCluster = cmp.Or(c.InitialCluster, to.InitialClusterFromName(to.Name))
	to.ClusterState = cmp.Or(c.InitialClusterState, embed.ClusterStateFlagNew)
	to.InitialClusterToken = cmp.Or(c.InitialClusterToken, "tokenbroker")

	to.TickMs = uint(cmp.Or(c.Tick, 100*time.Millisecond).Milliseconds())
	to.ElectionMs = uint(cmp.Or(c.Election, time.Second).Milliseconds())
	to.QuotaBackendBytes = c.QuotaBytes
	to.AutoCompactionMode = embed.CompactorModePeriodic
	to.AutoCompactionRetention = cmp.Or(c.Compaction, time.Hour).String()
	to.BcryptCost = cmp.Or(c.PasswordCost, to.BcryptCost)
	to.UnsafeNoFsync = c.UnsafeNoFsync
	to.EnableGRPCGateway = false // REST access to etcd: nobody here calls it
	return to, nil
}
