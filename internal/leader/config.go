package leader

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/clock"
)

// Config configures an Elector and an Observer. Its zero value suits an Observer; an Elector needs an ID.
type Config struct {
	// Prefix is where the election takes place: candidates' keys are Prefix/<lease id in lower hex>. Without a slash at its end.
	// Default "/tokenbroker/election".
	Prefix string
	// ID names this candidate to people and to other replicas. It need not be unique for the election to work.
	ID string
	// Address is where the others reach this candidate. Only carried along.
	Address string
	// Labels are carried along like Address. They are not changed while the elector is in use, and hold nothing secret.
	Labels map[string]string
	// TTL is for how long etcd keeps the key of a leader that does not call: a crashed leader is followed after TTL, and up to 0.5 s
	// in which etcd does not look. Whole seconds, at least 2 s. Default 5 s.
	TTL time.Duration
	// Margin is how long before the lease can have ended the leader stops trusting it. It covers what clock rates differ by within a
	// TTL, and the time that an ended context takes to be noticed. Less than half the TTL. Default a tenth of it.
	Margin time.Duration
	// Clock counts the trust. Default a clock of its own.
	Clock *clock.Clock
	// Logger receives wins, losses and failures. Default: nothing is logged.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, "/tokenbroker/election")
	c.TTL = cmp.Or(c.TTL, 5*time.Second)
	c.Margin = cmp.Or(c.Margin, c.TTL/10)
	if c.Clock == nil {
		c.Clock = clock.New()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) check() error {
	var errs []error
	if strings.HasSuffix(c.Prefix, "/") {
		errs = append(errs, fmt.Errorf("prefix %q ends with a slash", c.Prefix))
	}
	if c.ID == "" {
		errs = append(errs, errors.New("no ID given"))
	}
	if c.TTL < 2*time.Second || c.TTL%time.Second != 0 {
		errs = append(errs, fmt.Errorf("TTL %v is not a whole number of seconds, 2 s or more", c.TTL))
	}
	if c.Margin < 0 || c.Margin >= c.TTL/2 {
		errs = append(errs, fmt.Errorf("margin %v is not between 0 and half the TTL %v", c.Margin, c.TTL))
	}
	return errors.Join(errs...)
}

// call is the deadline of a single request to etcd other than a keep-alive. It also bounds the last words of a session, and with them
// how long Run outlives its context and lead.
func (c Config) call() time.Duration { return c.TTL / 2 }

// beat is the interval of keep-alives. Four fit into a TTL, so that a leader survives two lost ones.
func (c Config) beat() time.Duration { return c.TTL / 4 }

// retry is how long after a keep-alive that failed the next is sent, and the longest time that a jump of the clocks goes unnoticed.
func (c Config) retry() time.Duration { return c.TTL / 20 }
