package main

import (
	"log/slog"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
	"github.com/tokenbroker/tokenbroker/internal/refresh"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat"
)

// config is everything that the operator decides. It is made by loadConfig only, so every value in it has passed its checks, every
// default is filled in and every secret has been read.
type config struct {
	// Plaintext: calls are not encrypted, which the operator said in so many words. Every address to listen on is on loopback then.
	// Otherwise there is TLS.
	Plaintext bool
	TLS       tlsConfig
	// PlaintextStore: tokens may lie in etcd and in the snapshot as they are.
	PlaintextStore bool

	Replica  replicaConfig
	GRPC     grpcConfig
	HTTP     httpConfig
	Gateway  gatewayConfig
	Log      logConfig
	Etcd     etcdConfig
	Election electionConfig
	Snapshot snapshotConfig
	Sealing  sealingConfig
	Limits   limitsConfig
	Audit    auditConfig
	// Clients may use the gateway's WeChat-compatible paths. Names and secrets are unique.
	Clients        []gateway.Client
	Authentication authenticationConfig
	Policy         policyConfig
	// Tokens has at least one element; names are unique.
	Tokens []tokenConfig
}

// replicaConfig names this process among its peers.
type replicaConfig struct {
	// ID is unique in the cluster: letters, digits, '.', '_' and '-'. Default: the host name.
	ID string
	// Advertise is the host:port at which others reach this replica's gRPC API; shown to operators. Empty: derived from the address
	// that GRPC.Listen turns out to have.
	Advertise string
}

// grpcConfig is the API's own server.
type grpcConfig struct {
	// Listen is host:port; an empty host means every interface, port 0 any free one. Default 127.0.0.1:7700.
	Listen string
	// Reflection lets grpcurl and its like discover the API.
	Reflection bool
	// MaxConnectionAge is how long a client may keep one connection, so that clients spread over new replicas; 0 is for ever.
	// Default 30 minutes.
	MaxConnectionAge time.Duration
}

// httpConfig is the address of /metrics, /livez and /readyz.
type httpConfig struct {
	// Listen is host:port as in grpcConfig. Default 127.0.0.1:7780.
	Listen string
}

// logConfig says what is logged to standard error, and how.
type logConfig struct {
	// Level is the least level that is logged. Default info.
	Level slog.Level
	// JSON logs one object a line instead of key=value text.
	JSON bool
}

// etcdConfig says where the cluster keeps its state: in etcd at Endpoints, or in an etcd server inside the process.
type etcdConfig struct {
	// Endpoints are URLs, all http or all https. Empty exactly when Embedded is set.
	Endpoints []string
	TLS       tlsFiles
	// Username and Password are both set or both empty.
	Username string
	Password token.Secret
	// Namespace is the prefix of every key; starts and ends with a slash. Default /tokenbroker/.
	Namespace string
	Embedded  *embeddedConfig
}

// tlsFiles are PEM files; CA empty means the system's authorities, Cert and Key are both set or both empty.
type tlsFiles struct {
	CA, Cert, Key string
}

// embeddedConfig is an etcd server inside the process, alone or as a member of a cluster of brokers.
type embeddedConfig struct {
	// DataDir holds the member's data. Required.
	DataDir string
	// Name is the member's name. Default: Replica.ID.
	Name string
	// ListenClient is the URL for etcdctl and for this replica. Default http://127.0.0.1:2379.
	ListenClient string
	// ListenPeer is the URL at which other members connect. Default http://127.0.0.1:2380.
	ListenPeer string
	// AdvertisePeer is ListenPeer as other members see it. Default: ListenPeer.
	AdvertisePeer string
	// InitialCluster maps every member's name to its advertised peer URL. Default: this member only.
	InitialCluster map[string]string
	// Existing: this member joins a cluster that already runs.
	Existing bool
	// PeerTLS serves and asks for certificates between members; the authorities sign the peers'.
	PeerTLS tlsFiles
}

// electionConfig tunes the election of the leader.
type electionConfig struct {
	// SessionTTL is how long after a leader's death another may lead: whole seconds, 2 to 60. Default 5 s.
	SessionTTL time.Duration
}

// snapshotConfig is where the replica keeps what it holds over a restart.
type snapshotConfig struct {
	// File is an absolute path; empty: nothing is kept.
	File string
}

// tokenConfig is one token to keep alive.
type tokenConfig struct {
	Name string
	// WeChat is the account that it comes from; without a secret after a dry run.
	WeChat wechat.Config
	// SecretFrom says for people where the account's secret was read: "file /run/secrets/shop".
	SecretFrom string
	// Traits are the upstream's, and Timing the protocol's constants for them.
	Traits token.Traits
	Timing token.Timing
	// Policy says when to fetch; it is complete.
	Policy refresh.Policy
}
