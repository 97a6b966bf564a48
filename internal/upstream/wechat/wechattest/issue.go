package wechattest

import (
	"fmt"
	"strings"
	"time"
)

const (
	shortestToken = 16
	alphabet      = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// Error is an answer with an errcode.
type Error struct {
	Code    int
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Message) }

// Grant is an answer with a token.
type Grant struct {
	Token string `json:"access_token"`
	// ExpiresIn is the remaining life in seconds, rounded down.
	ExpiresIn int64 `json:"expires_in"`
}

// IssueClassic fetches a token as GET /cgi-bin/token with the right secret from an allowed address does. Its error is an *Error.
func (w *WeChat) IssueClassic(appid string) (Grant, error) {
	return w.fetch(fetch{endpoint: Classic, appid: appid})
}

// IssueStable fetches a token as POST /cgi-bin/stable_token does. Its error is an *Error.
func (w *WeChat) IssueStable(appid string, force bool) (Grant, error) {
	return w.fetch(fetch{endpoint: Stable, appid: appid, force: force})
}

// ForeignFetch is somebody else's fetch, which the broker does not know of: a rotation on the classic endpoint, a forced refresh on
// the stable one.
func (w *WeChat) ForeignFetch(appid string, endpoint Endpoint) (Grant, error) {
	return w.fetch(fetch{endpoint: endpoint, appid: appid, force: endpoint == Stable, foreign: true})
}

// fetch is one call of either endpoint.
type fetch struct {
	endpoint       Endpoint
	appid          string
	force, foreign bool
	client         string
}

func (w *WeChat) fetch(f fetch) (Grant, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	grant, outcome, refusal := w.process(f)
	w.tally(f.endpoint, f.appid, outcome)
	if refusal != nil {
		return Grant{}, refusal
	}
	return grant, nil
}

// process does what WeChat does with a fetch, and says in a word what came of it.
func (w *WeChat) process(f fetch) (grant Grant, outcome string, refusal *Error) {
	refuse := func(code int) (Grant, string, *Error) { return Grant{}, fmt.Sprint(code), w.failure(code) }
	a, now := w.accounts[f.appid], w.cfg.Now()
	if a == nil {
		return refuse(40013)
	}
	if a.Refuse != 0 {
		return refuse(a.Refuse)
	}
	if code := a.usage.spend(w.cfg.Quotas, f.endpoint, now); code != 0 {
		return refuse(code)
	}
	if f.endpoint == Classic {
		return w.rotate(a, f, now), OutcomeIssued, nil
	}
	grant, outcome = w.stable(a, f, now)
	return grant, outcome, nil
}

// rotate issues the next classic token.
func (w *WeChat) rotate(a *account, f fetch, now time.Time) Grant {
	if oldest := a.classic.previous; oldest != nil {
		oldest.endBy(now)
	}
	if old := a.classic.current; old != nil {
		old.endBy(now.Add(w.cfg.Overlap))
	}
	fresh := w.mint(f, now)
	a.classic = chain{current: fresh, previous: a.classic.current}
	return fresh.grant(now)
}

func (w *WeChat) stable(a *account, f fetch, now time.Time) (Grant, string) {
	current := a.stable.current
	if f.force && a.usage.force(w.cfg.Quotas, now) {
		for _, old := range []*Issued{current, a.stable.previous} {
			if old != nil {
				old.endBy(now)
			}
		}
		fresh := w.mint(f, now)
		a.stable = chain{current: fresh}
		return fresh.grant(now), OutcomeIssued
	}
	f.force = false
	if current != nil && current.aliveAt(now) {
		// With short lives the last second counts as the window, too: expires_in must not be 0.
		if left := current.Ends.Sub(now); left > max(w.cfg.Overlap, time.Second-1) {
			return current.grant(now), OutcomeSame
		}
		if promised := now.Add(w.cfg.Overlap); promised.After(current.Ends) {
			current.Until = promised
		}
	}
	fresh := w.mint(f, now)
	a.stable = chain{current: fresh, previous: current}
	return fresh.grant(now), OutcomeIssued
}

// mint makes a token and enters it into the record.
func (w *WeChat) mint(f fetch, now time.Time) *Issued {
	ends := now.Add(w.cfg.TokenLife)
	t := &Issued{
		Token: w.value(), AppID: f.appid, Endpoint: f.endpoint, Forced: f.force, Foreign: f.foreign, Client: f.client,
		From: now, Ends: ends, Until: ends,
	}
	w.tokens[t.Token] = t
	w.history = append(w.history, t)
	return t
}

// value makes up a token that looks like one of WeChat's: two digits, an underscore, and base64url.
func (w *WeChat) value() string {
	size := w.cfg.MinTokenSize + w.rng.IntN(w.cfg.MaxTokenSize-w.cfg.MinTokenSize+1)
	for {
		var b strings.Builder
		fmt.Fprintf(&b, "%02d_", 10+w.rng.IntN(90))
		for b.Len() < size {
			b.WriteByte(alphabet[w.rng.IntN(len(alphabet))])
		}
		if w.tokens[b.String()] == nil {
			return b.String()
		}
	}
}

// Check says whether a token is accepted now: nil, or an *Error with code 41001, 40014, 40001 or 42001.
func (w *WeChat) Check(value string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if refusal := w.check(value); refusal != nil {
		return refusal
	}
	return nil
}

func (w *WeChat) check(value string) *Error {
	if value == "" {
		return w.failure(41001)
	}
	t := w.tokens[value]
	if t == nil {
		return w.failure(40014)
	}
	switch now := w.cfg.Now(); {
	case t.aliveAt(now):
		return nil
	case t.Until.Before(t.Ends):
		return w.failure(40001)
	default:
		return w.failure(42001)
	}
}

// Kill ends a token now, as an administrator who resets something does. It reports whether the token was alive.
func (w *WeChat) Kill(value string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, now := w.tokens[value], w.cfg.Now()
	if t == nil || !t.aliveAt(now) {
		return false
	}
	t.endBy(now)
	// The stable endpoint must not hand it out again.
	if a := w.accounts[t.AppID]; a.stable.current == t {
		a.stable = chain{}
	}
	return true
}

// ClearQuota empties the day's counters of an account, as POST /cgi-bin/clear_quota/v2 does. Its error is an *Error.
func (w *WeChat) ClearQuota(appid string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, code := w.accounts[appid], 40013
	if a != nil {
		code = a.usage.clear(w.cfg.Quotas, w.cfg.Now())
	}
	w.tally(ClearQuota, appid, fmt.Sprint(code))
	if code != 0 {
		return w.failure(code)
	}
	return nil
}

// failure makes an answer with an errcode. It is called with mu held.
func (w *WeChat) failure(code int) *Error { return w.failureFor(code, "") }

// failureFor makes an answer with an errcode to a caller at an address.
func (w *WeChat) failureFor(code int, client string) *Error {
	message := messages[code]
	switch {
	case code == 40164:
		message = fmt.Sprintf(message, client, client)
	case message == "":
		message = "error"
	}
	rid := fmt.Sprintf("%08x-%08x-%08x", uint32(w.cfg.Now().Unix()), w.rng.Uint32(), w.rng.Uint32())
	return &Error{Code: code, Message: message + " rid: " + rid}
}

// messages are WeChat's, as seen in the wild where they are not documented.
var messages = map[int]string{
	-1:    "system error",
	40001: "invalid credential, access_token is invalid or not latest",
	40002: "invalid grant_type",
	40013: "invalid appid",
	40014: "invalid access_token",
	40066: "invalid url",
	40125: "invalid appsecret",
	40164: "invalid ip %s ipv6 ::ffff:%s, not in whitelist",
	40243: "appsecret has been frozen",
	41001: "access_token missing",
	41002: "appid missing",
	41004: "appsecret missing",
	42001: "access_token expired",
	43001: "require GET method",
	43002: "require POST method",
	45009: "reach max api daily quota limit",
	45011: "api minute-quota reach limit must slower retry next minute",
	47001: "data format error",
	48001: "api unauthorized",
	48006: "forbid to clear quota because of reaching the limit",
	50002: "user limited",
	50004: "api forbidden",
	50007: "account frozen",
	61004: "access clientip is not registered, not in ip-white-list",
	61024: "only the platform may get this token",
	89501: "this ip needs confirmation by the administrator",
	89503: "this ip is waiting for confirmation by the administrator",
	89506: "this ip was refused twice by the administrator, retry in 24 hours",
	89507: "this ip was refused by the administrator, retry in 1 hour",
}
