package judge

import (
	"cmp"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/test/robustness/history"
)

// Case is what is judged. Zero values of what has a default mean the default.
type Case struct {
	// Events is the history, and Issued what the simulated WeChat issued. They are read only.
	Events []history.Event
	Issued []history.Issued
	// Tokens are all tokens that the replicas keep, and Replicas the names of all replicas.
	Tokens   []Token
	Replicas []string
	// SessionTTL is the life of an election key whose owner is silent. Default 5 s.
	SessionTTL time.Duration
	// Skew is by how much earlier a replica may take a life to end that it counts by wall clocks. Default 30 s, as the broker's.
	Skew time.Duration
	// RecoverWithin bounds the time from the end of the last fault to lasting health. Default Token.Recovery. A fault that leaves
	// the leader a stated time to wait (an address blocked for an hour, a day's quota) needs a longer one.
	RecoverWithin time.Duration
	// Patience bounds the search for an order of what happened in etcd, for each token. Default 30 s.
	Patience time.Duration
	// Show is how many violations, and how many cases of each cause of exclusion, are written out. All are counted. Default 20.
	Show int
}

// Token is one token that the replicas keep.
type Token struct {
	Name string
	// Rotating: of WeChat's classic endpoint.
	Rotating bool
	// Life is the longest life that WeChat states, Overlap how long a predecessor lives on.
	Life, Overlap time.Duration
	// Timing is the protocol's. Default token.TimingFor(Overlap).
	Timing token.Timing
	// Ahead is the remaining life at which a fetch is due. Default as the broker's for WeChat.
	Ahead time.Duration
	// DailyBudget is the number of fetches that are allowed in a day; 0 leaves it unjudged.
	DailyBudget int64
	// Requests is how many fetches of the brokers came in at WeChat, refused ones included; 0 leaves it unjudged.
	Requests int
}

const (
	// hearTime is how long a replica may take to hear of what was written in etcd, when nothing is in the way: a replica proves its view
	// current each second, by calls that may take 3 s.
	hearTime = 5 * time.Second
	// reconnectTime is how long a caller's connection may take to come back to a replica that is there again.
	reconnectTime = 10 * time.Second
	// longestUrgentBackOff is the longest back-off of a leader that has no living token, jitter included: a minute and a quarter of it.
	longestUrgentBackOff = 75 * time.Second
)

// Recovery is the longest time from the end of the last fault until every replica promises the token again: an election of which etcd
// gave all leases their full life anew, and sessions pause before they are opened; a quiet wait, another one if a late request's
// outcome turned up in the first; the back-off that failures have left; one attempt; and the time to hear of it.
func (t Token) Recovery(sessionTTL time.Duration) time.Duration {
	t = t.withDefaults()
	d := sessionTTL*5/2 + 2*time.Second + longestUrgentBackOff + t.Timing.G + t.Timing.F + hearTime
	if t.Rotating {
		d += 2*t.Timing.W + t.Timing.D
	}
	return d
}

// longest is the longest promise that can be made.
func (t Token) longest() time.Duration {
	if t.Rotating {
		return t.Timing.W
	}
	return t.Life
}

func (t Token) withDefaults() Token {
	if t.Timing == (token.Timing{}) {
		t.Timing = token.TimingFor(t.Overlap)
	}
	if t.Ahead == 0 {
		t.Ahead = t.Overlap * 9 / 10
		if t.Rotating {
			t.Ahead = max(t.Life/4, t.Overlap*9/5)
		}
	}
	return t
}

func (c Case) withDefaults() Case {
	c.SessionTTL = cmp.Or(c.SessionTTL, 5*time.Second)
	c.Skew = cmp.Or(c.Skew, 30*time.Second)
	c.Patience = cmp.Or(c.Patience, 30*time.Second)
	c.Show = cmp.Or(c.Show, 20)
	return c
}
