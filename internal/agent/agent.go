package agent

import (
	"context"
	"log/slog"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
)

// Config says what an agent does, and for whom.
type Config struct {
	// Target and Options lead to the brokers: see tokenbroker.New.
	Target  string
	Options []tokenbroker.Option
	// Tokens are the names that are followed from the start; others are from the first call on.
	Tokens []string
	// Files are kept up to date.
	Files []File
	// GRPC and HTTP are where callers are served; either may be nil. Run closes them.
	GRPC, HTTP net.Listener
	// AnyMode is gateway.Config.AnyMode.
	AnyMode bool
	// Logger gets what goes on in the background. Default: nothing is logged.
	Logger *slog.Logger
}

// Run runs an agent until ctx ends, and returns nil then. Before that it returns only if something that was asked for cannot be done: a
// listener that fails, or a file that cannot be where it is wanted. No goroutine of it is left.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	defer cfg.close()
	for _, f := range cfg.Files {
		if err := f.check(); err != nil {
			return err
		}
	}
	s, err := newService(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = s.client.Close() }() // never fails

	parts, either := errgroup.WithContext(ctx)
	for _, f := range cfg.Files {
		parts.Go(func() error { newKeeper(f, s, cfg.Logger).run(either); return nil })
	}
	for _, name := range cfg.Tokens {
		parts.Go(func() error { s.follow(either, name, func() {}); return nil })
	}
	parts.Go(func() error { s.keepList(either); return nil })
	parts.Go(func() error { return s.serve(either, cfg) })
	return parts.Wait()
}

// close closes the listeners, if nobody has yet.
func (c Config) close() {
	for _, l := range []net.Listener{c.GRPC, c.HTTP} {
		if l != nil {
			l.Close()
		}
	}
}
