package tokenbroker

import (
	"crypto/tls"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// DefaultPatience is how long a call waits at most whose context has no deadline.
const DefaultPatience = 30 * time.Second

// Option changes what New returns.
type Option func(*config)

type config struct {
	transport credentials.TransportCredentials
	files     *TLSFiles
	bearer    string
	dial      []grpc.DialOption
	logger    *slog.Logger
	minLife   time.Duration
	patience  time.Duration
	names     []string
}

func newConfig(options []Option) config {
	cfg := config{logger: slog.New(slog.DiscardHandler), patience: DefaultPatience}
	for _, o := range options {
		o(&cfg)
	}
	return cfg
}

// WithTLS encrypts the connections, and checks the brokers' certificates against cfg; nil stands for the system's authorities. A
// certificate of the caller's own goes into cfg, too.
func WithTLS(cfg *tls.Config) Option { return WithTransportCredentials(credentials.NewTLS(cfg)) }

// WithTLSFiles is WithTLS with files that are read anew for each connection: certificates may be renewed at any time. New fails if they
// cannot be read then.
func WithTLSFiles(files TLSFiles) Option {
	return func(c *config) { c.files, c.transport = &files, nil }
}

// WithTransportCredentials is WithTLS for everything else that gRPC knows.
func WithTransportCredentials(creds credentials.TransportCredentials) Option {
	return func(c *config) { c.files, c.transport = nil, creds }
}

// WithInsecure lets tokens travel in the clear to wherever the target is. Without it New refuses a target that is not on this machine
// unless there is encryption.
func WithInsecure() Option { return WithTransportCredentials(insecure.NewCredentials()) }

// WithPerRPCCredentials adds what proves who is calling, such as a bearer token of one's own, to every call.
func WithPerRPCCredentials(creds credentials.PerRPCCredentials) Option {
	return WithDialOptions(grpc.WithPerRPCCredentials(creds))
}

// WithBearerFile proves who is calling by the bearer token in a file, such as a service-account token that Kubernetes mounts. It is read for
// each call. New refuses it where it would travel in the clear to another machine, with WithInsecure, too.
func WithBearerFile(path string) Option {
	return func(c *config) { c.bearer = path }
}

// WithDialOptions adds options of gRPC. They come last, and override the package's own.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(c *config) { c.dial = append(c.dial, options...) }
}

// WithLogger tells what goes on in the background. Default: nothing is logged. Tokens never are.
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) { c.logger = logger }
}

// WithMinLife hands out only tokens that are promised to live at least this long, and so never a Suspect one. Default 0: any token is
// better than none. A life that the broker can never promise (for WeChat classic 4 min) is an error of the first call for a token.
func WithMinLife(least time.Duration) Option {
	return func(c *config) { c.minLife = max(least, 0) }
}

// WithPatience sets how long a call waits at most whose context has no deadline. Default DefaultPatience.
func WithPatience(longest time.Duration) Option {
	return func(c *config) { c.patience = longest }
}

// WithTokens has New return only when each of these tokens is there, or fail when its context ends.
func WithTokens(names ...string) Option {
	return func(c *config) { c.names = append(c.names, names...) }
}
