package refresh

import (
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Calendar gives the first moment after t at which a fetch is wanted; the zero time if there is none.
type Calendar interface {
	Next(t time.Time) time.Time
}

// Rule wants a fetch by interval or by calendar. Exactly one of Every and Calendar is set.
type Rule struct {
	// Every is counted from the last successful fetch.
	Every time.Duration
	// Calendar is asked for the first moment after the last successful fetch. A moment that passed while nobody led is made up for.
	Calendar Calendar
	// Text is the rule as people wrote it: "every 9h0m0s", "cron 0 30 2 * * *".
	Text string
}

// Policy says when a token is fetched, and how often at most. The zero Policy follows the upstream's own rules.
type Policy struct {
	// Ahead is the remaining life at which a refresh is due, whatever the rules say. Default Traits.Ahead. For a rotating upstream
	// at least Timing.LeastAhead.
	Ahead time.Duration
	// Rules want additional fetches; the earliest wins.
	Rules []Rule
	// DailyBudget is the number of fetches allowed a day, Reserve included. Default Traits.FetchesPerDay.
	DailyBudget int64
	// Reserve is the part of the budget that is kept for a token that is near its end or missing. Default a tenth.
	Reserve int64
	// Verify is how often the leader asks the upstream whether the current value still lives; at least LeastVerify, 0: never. So it
	// notices that somebody else ended its life before callers report it.
	Verify time.Duration
	// TrustReports makes the leader act on a report of invalidity without asking the upstream first.
	TrustReports bool
}

// LeastVerify is the shortest Policy.Verify.
const LeastVerify = 10 * time.Second

// Why a fetch is due.
const (
	reasonNone      = "no token"
	reasonUnsettled = "unsettled fetch"
	reasonCondemned = "known to be dead"
	reasonSource    = "the configuration names another upstream"
	reasonFloor     = "a replica serves a version of its own"
	reasonAhead     = "ahead of expiry"
	reasonOperator  = "operator"
	reasonRetry     = "retry"
)

// ErrBadPolicy is the cause of every error of Complete.
var ErrBadPolicy = errors.New("bad refresh policy")

// Complete fills in the defaults and checks the relations.
func (p Policy) Complete(traits token.Traits, timing token.Timing) (Policy, error) {
	if p.Ahead == 0 {
		p.Ahead = traits.Ahead
	}
	if p.DailyBudget == 0 {
		p.DailyBudget = traits.FetchesPerDay
	}
	if p.Reserve == 0 {
		p.Reserve = p.DailyBudget / 10
	}
	if p.Ahead <= 0 || p.Ahead >= traits.MaxLife {
		return p, fmt.Errorf("%w: ahead is %v, must be positive and less than the token's life, %v", ErrBadPolicy, p.Ahead, traits.MaxLife)
	}
	if least := timing.LeastAhead(); traits.Rotating && p.Ahead < least {
		return p, fmt.Errorf("%w: ahead is %v, must be at least %v for this upstream, so that a fetch whose answer is lost can be repeated in time",
			ErrBadPolicy, p.Ahead, least)
	}
	if p.DailyBudget < 1 || p.Reserve < 0 || p.Reserve >= p.DailyBudget {
		return p, fmt.Errorf("%w: the reserve is %d, must be less than the daily budget, %d", ErrBadPolicy, p.Reserve, p.DailyBudget)
	}
	if p.Verify != 0 && p.Verify < LeastVerify {
		return p, fmt.Errorf("%w: asking every %v whether the token lives is too often, at most every %v", ErrBadPolicy, p.Verify, LeastVerify)
	}
	for _, r := range p.Rules {
		if r.Calendar == nil && r.Every < time.Second {
			return p, fmt.Errorf("%w: %q: an interval must be at least 1s", ErrBadPolicy, r.Text)
		}
	}
	return p, nil
}

// Due says in how long from now the next fetch is due (0: now), and why. left is what is left until the nominal end of rec's value,
// and wall the present wall time. It knows nothing of quiet waits and back-off, which only the leader has.
func (p Policy) Due(rec token.Record, traits token.Traits, wall time.Time, left time.Duration) (time.Duration, string) {
	switch {
	case rec.Value.IsZero():
		return 0, reasonNone
	case rec.Condemned:
		return 0, reasonCondemned
	case !rec.Clean():
		return 0, reasonUnsettled
	case rec.Source != traits.Source:
		return 0, reasonSource
	case rec.Floor > 0:
		return 0, reasonFloor
	}
	in, why := left-p.ahead(rec, traits), reasonAhead
	for _, r := range p.Rules {
		at := rec.RefreshedAt.Add(r.Every)
		if r.Calendar != nil {
			if at = r.Calendar.Next(rec.RefreshedAt); at.IsZero() {
				continue
			}
		}
		if d := at.Sub(wall); d < in {
			in, why = d, r.Text
		}
	}
	return max(in, 0), why
}

// ahead is the remaining life at which rec's value is to be refreshed: Ahead, but at most three quarters of the life that the upstream
// stated, so that short-lived answers do not make for a fetch right after each fetch. Most of such a life is left to fail in: an
// idempotent upstream that was asked a moment too early answers with the same token and its last five minutes. It is spread by a
// tenth, so that tokens that were fetched together part: a rotating token is fetched earlier, never later; an idempotent one later,
// since its upstream answers with the same token when asked too early. The spread hangs on the attempt's id, so that all replicas
// name the same moment.
func (p Policy) ahead(rec token.Record, traits token.Traits) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(rec.Resolved.Attempt))
	spread := time.Duration(float64(p.Ahead/10) * float64(hash.Sum32()) / (1 << 32))
	if !traits.Rotating {
		spread = -spread
	}
	return min(p.Ahead+spread, rec.Life*3/4)
}

// urgent reports whether the reserve of the budget may be used: when the token is missing or near its nominal end. A report that it
// is dead does not open the reserve, or a flood of reports could use up what the next day's end of life needs.
func (p Policy) urgent(rec token.Record, left time.Duration) bool {
	return rec.Value.IsZero() || left < p.Ahead/2
}
