package server

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/view"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// DefaultDrainTimeout is how long Run waits by default for calls under way when it is told to stop.
const DefaultDrainTimeout = 10 * time.Second

// Config describes the replica and how it serves.
type Config struct {
	// ReplicaID and Address are what the replica stands for election with.
	ReplicaID string
	Address   string
	// Version is the version of the program, and Started when the process began; both are for people.
	Version string
	Started time.Time
	// Logger gets the causes of internal errors. Default: none are logged.
	Logger *slog.Logger
	// Wall is the wall clock, for calendars and for people. Default time.Now.
	Wall func() time.Time
	// Guard decides whose calls are carried out. Default: everybody's are.
	Guard Guard
	// Reflection lets clients ask for the services' descriptions.
	Reflection bool
	// DrainTimeout is how long Run waits for calls under way before it cuts them off. Default DefaultDrainTimeout.
	DrainTimeout time.Duration
	// MaxConnectionAge is how long a client may keep a connection, so that it resolves names anew now and then and finds replicas
	// that were added. Default: for ever.
	MaxConnectionAge time.Duration
	// Credentials are what connections are taken with: transport.ServerCredentials. Default: plaintext.
	Credentials credentials.TransportCredentials
}

// Asker puts a request to whoever leads. Ask returns when the leader has answered, ctx has ended, or the request could not be
// placed. Equal requests are one request, however often and wherever they are asked.
type Asker interface {
	Ask(ctx context.Context, req token.Request) (token.Reply, error)
}

// Cluster tells who stands for election. None of its methods blocks.
type Cluster interface {
	Election() Election
	// Leading is the term that this replica leads in, for as long as it can be sure of that; 0 otherwise.
	Leading() int64
	// Changed returns a channel that is closed at the next change. Take it before Election.
	Changed() <-chan struct{}
}

// Election is who stands for election, as far as this replica knows.
type Election struct {
	// Leader is nil while there is none.
	Leader *Candidate
	// Candidates are all who stand, the leader first, then in the order in which they would lead.
	Candidates []Candidate
}

// Candidate is a replica that stands for election.
type Candidate struct {
	ID, Address string
	// Key is the election key, and Term its create revision.
	Key  string
	Term int64
	// Since is when it began to lead, or to wait, on its own wall clock.
	Since time.Time
}

// Planner tells when a token will be fetched next. It must not block.
type Planner interface {
	// Plan returns the zero Plan if there is no such token. leader is nil if nobody is known to lead.
	Plan(name string, leader *Candidate) Plan
}

// Plan is the schedule of one token.
type Plan struct {
	// Next is when a fetch is due by the schedule, on this replica's wall clock; zero if not known. Reason says why then. Back-off, which
	// the leader alone knows, and Quiet are not in it.
	Next   time.Time
	Reason string
	// Quiet is until when the leader leaves the upstream in peace at least, so that no fetch begins before; zero if nothing keeps it from
	// fetching, or that is not known.
	Quiet time.Time
	// UnderWay: a fetch was begun, and may bring the token at any moment.
	UnderWay bool
	// DailyBudget is how many fetches a day are allowed.
	DailyBudget int64
}

// Server implements both services, and is a prometheus.Collector of its calls and of the tokens' state.
type Server struct {
	tokenbrokerv1.UnimplementedTokenBrokerServiceServer
	tokenbrokerv1.UnimplementedAdminServiceServer

	cfg     Config
	view    *view.View
	asker   Asker
	cluster Cluster
	planner Planner

	health  *health.Server
	loaded  atomic.Bool
	retired atomic.Bool

	rpcs   rpcMetrics
	gauges gauges

	questions questions

	drainOnce sync.Once
	draining  chan struct{} // closed when waits and streams are to end
}

var (
	_ tokenbrokerv1.TokenBrokerServiceServer = (*Server)(nil)
	_ tokenbrokerv1.AdminServiceServer       = (*Server)(nil)
	_ prometheus.Collector                   = (*Server)(nil)
)

// New returns a Server that reads from v. It starts nothing: see Run.
func New(cfg Config, v *view.View, asker Asker, cluster Cluster, planner Planner) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Wall == nil {
		cfg.Wall = time.Now
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = DefaultDrainTimeout
	}
	return &Server{
		cfg: cfg, view: v, asker: asker, cluster: cluster, planner: planner,
		health: newHealth(), rpcs: newRPCMetrics(), gauges: newGauges(),
		questions: questions{open: make(map[question]*inquiry)},
		draining:  make(chan struct{}),
	}
}

// find returns the token of that name. A name that is configured is valid, so only unknown ones are examined.
func (s *Server) find(name string) (*view.Token, error) {
	if t := s.view.Token(name); t != nil {
		return t, nil
	}
	if err := token.ValidateName(name); err != nil {
		return nil, badRequest("name", err.Error())
	}
	return nil, unknownToken(name)
}
