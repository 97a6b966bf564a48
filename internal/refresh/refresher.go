package refresh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Ledger is the durable record of one token, as the leader of one term may change it.
//
// All methods repeat what failed in passing until they know, and return the context's error if it ends first.
type Ledger interface {
	// Read reads linearizably.
	Read(ctx context.Context) (token.Entry, error)
	// Write replaces the record, and deletes the orphans of the named attempts, in one transaction that compares the term and the
	// record's revision. It returns the record's new revision. A transaction whose answer was lost is repeated and read back, so
	// that nil means done, token.ErrDeposed and token.ErrConflict mean not done and never to be done, and any other error means
	// that nobody knows.
	Write(ctx context.Context, revision int64, rec token.Record, orphans ...string) (int64, error)
	// Leave writes an orphan. It is not fenced: it is for those whose term is over.
	Leave(ctx context.Context, orphan token.Orphan) error
}

// Lives is what the replica's own view knows of the token.
type Lives interface {
	// NominalEnd returns when the given version ends; false if the view does not hold that version.
	NominalEnd(version int64) (clock.Instant, bool)
	// Version returns the highest version that this replica has seen in the store.
	Version() int64
	// Local returns the version under which this replica serves a value that it fetched alone; 0 if it does not.
	Local() int64
}

// Inbox is how the outer world reaches a running Refresher.
type Inbox struct {
	// Orphans signals that an orphan for this token was written.
	Orphans <-chan struct{}
	// Calls brings what replicas and operators ask of the leader for this token: every kind of request but RequestResign.
	Calls <-chan token.Call
}

// Config says which token to keep alive, and how. All fields are required unless said otherwise.
type Config struct {
	Name     string
	Upstream token.Upstream
	Policy   Policy
	Timing   token.Timing
	Clock    *clock.Clock
	Logger   *slog.Logger
	Lives    Lives

	// Replica is this replica's id, kept in the record when it gives up the lead.
	Replica string
	// Peers returns how many other replicas could lead. With none, the lead is never given up.
	Peers func() int
	// Rest is shared by all refreshers of the replica. It may be nil.
	Rest *Rest
	// Metrics may be nil.
	Metrics *Metrics
	// NewAttempt returns a new attempt's id. Default: random.
	NewAttempt func() string
	// Jitter returns a number in [0, 1). Default: random.
	Jitter func() float64
}

// Refresher keeps one token alive while its replica leads. See the package documentation for the protocol.
type Refresher struct {
	cfg    Config
	traits token.Traits
	policy Policy
	timing token.Timing
	log    *slog.Logger
	stood  standing // of the last run
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Refresher, error) {
	traits := cfg.Upstream.Traits()
	if traits.Rotating {
		if err := cfg.Timing.Check(traits.Overlap); err != nil {
			return nil, fmt.Errorf("token %q: %w", cfg.Name, err)
		}
	}
	policy, err := cfg.Policy.Complete(traits, cfg.Timing)
	if err != nil {
		return nil, fmt.Errorf("token %q: %w", cfg.Name, err)
	}
	cfg.Metrics.expect(cfg.Name)
	if cfg.NewAttempt == nil {
		cfg.NewAttempt = rand.Text
	}
	if cfg.Jitter == nil {
		cfg.Jitter = mathrand.Float64
	}
	return &Refresher{cfg: cfg, traits: traits, policy: policy, timing: cfg.Timing, log: cfg.Logger.With("token", cfg.Name)}, nil
}

// Policy returns the policy with its defaults filled in.
func (r *Refresher) Policy() Policy { return r.policy }

// Traits returns the upstream's traits.
func (r *Refresher) Traits() token.Traits { return r.traits }

// ErrHandOver is returned by Run when another replica should lead, because this one repeatedly cannot reach the upstream.
var ErrHandOver = errors.New("another replica should lead: the upstream cannot be reached from here")

// Run keeps the token alive until ctx ends, which it must at the latest when the term does. It then settles the fetch in flight, if
// there is one: nothing is left half-written as long as settle lives. settle should outlive ctx by the fetch time-out at least; the
// process' end may cut it short, as a crash would.
//
// It returns nil when ctx ended, ErrHandOver, token.ErrDeposed, or settle's error.
func (r *Refresher) Run(ctx, settle context.Context, term int64, ledger Ledger, inbox Inbox) error {
	g := &termRun{
		Refresher: r, term: term, ledger: ledger, settle: settle,
		log:       r.log.With("term", term),
		unwritten: map[string]bool{},
	}
	err := g.win(ctx)
	if err == nil {
		err = g.serve(ctx, inbox)
	}
	g.stand()
	if lost := g.disown(); lost != nil {
		return lost
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// longestTimer is the longest timer that is ever set; what is due later is looked at again then.
const longestTimer = time.Hour
