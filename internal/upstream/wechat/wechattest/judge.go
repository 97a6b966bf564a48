package wechattest

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Endpoint is a call that the simulation knows.
type Endpoint string

// The endpoints.
const (
	Classic    Endpoint = "token"             // GET /cgi-bin/token
	Stable     Endpoint = "stable_token"      // POST /cgi-bin/stable_token
	DomainIP   Endpoint = "get_api_domain_ip" // GET /cgi-bin/get_api_domain_ip, the probe
	UserGet    Endpoint = "user_get"          // GET /cgi-bin/user/get, an ordinary business call
	ClearQuota Endpoint = "clear_quota"       // POST /cgi-bin/clear_quota/v2
)

// What comes of a fetch, besides an errcode in digits and "fault_" with the kind of a fault that kept the request from being
// processed. Other endpoints count "0" for success.
const (
	OutcomeIssued = "issued" // a new token
	OutcomeSame   = "same"   // the stable endpoint's current token once more
)

// Issued is one token that was issued. It was, or as things stand will be, alive in [From, Until).
type Issued struct {
	Token    string   `json:"token"`
	AppID    string   `json:"appid"`
	Endpoint Endpoint `json:"endpoint"`
	// Forced: by a forced refresh. Foreign: to somebody else.
	Forced  bool `json:"forced,omitempty"`
	Foreign bool `json:"foreign,omitempty"`
	// Client is the address that asked; empty without a socket.
	Client string    `json:"client,omitempty"`
	From   time.Time `json:"from"`
	// Ends is From plus the life that was stated.
	Ends time.Time `json:"ends"`
	// Until is before Ends if it was rotated away or killed, and after it if it was replaced in the stable endpoint's window.
	Until time.Time `json:"until"`
}

func (t *Issued) aliveAt(at time.Time) bool { return !at.Before(t.From) && at.Before(t.Until) }

// endBy brings the end forward.
func (t *Issued) endBy(end time.Time) {
	if end.Before(t.Until) {
		t.Until = end
	}
}

func (t *Issued) grant(now time.Time) Grant {
	return Grant{Token: t.Token, ExpiresIn: int64(t.Until.Sub(now) / time.Second)}
}

// Count is how often something came of the calls of one endpoint, on one day in Shanghai.
type Count struct {
	Day      string   `json:"day"`
	AppID    string   `json:"appid"` // empty where the call does not name one
	Endpoint Endpoint `json:"endpoint"`
	Outcome  string   `json:"outcome"`
	N        int      `json:"n"`
}

// tally counts a processed call and wakes those who wait for it. It is called with mu held.
func (w *WeChat) tally(endpoint Endpoint, appid, outcome string) {
	w.counts[Count{Day: dayOf(w.cfg.Now()), AppID: appid, Endpoint: endpoint, Outcome: outcome}]++
	w.wake()
}

func (w *WeChat) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// AliveAt reports whether a token was alive at a moment, or as things stand will be. False for one that was never issued.
func (w *WeChat) AliveAt(value string, at time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tokens[value]
	return t != nil && t.aliveAt(at)
}

// DiesAt returns the end of a token's life as things stand, and whether it was ever issued. The end may still move.
func (w *WeChat) DiesAt(value string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tokens[value]
	if t == nil {
		return time.Time{}, false
	}
	return t.Until, true
}

// History returns every token ever issued, in order.
func (w *WeChat) History() []Issued {
	w.mu.Lock()
	defer w.mu.Unlock()
	history := make([]Issued, len(w.history))
	for i, t := range w.history {
		history[i] = *t
	}
	return history
}

// Counts returns what came of all processed calls, sorted by day, account, endpoint and outcome.
func (w *WeChat) Counts() []Count {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := make([]Count, 0, len(w.counts))
	for count, n := range w.counts {
		count.N = n
		counts = append(counts, count)
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.AppID, b.AppID), cmp.Compare(a.Endpoint, b.Endpoint),
			cmp.Compare(a.Outcome, b.Outcome))
	})
	return counts
}

// Requests returns how many requests of an endpoint have come in over HTTP, processed or not.
func (w *WeChat) Requests(endpoint Endpoint) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.received[endpoint]
}

// Await blocks until a condition holds or ctx ends. The condition is asked at once and after each request that comes in or is
// processed; it may call any method.
func (w *WeChat) Await(ctx context.Context, condition func() bool) error {
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
