package tokenbroker

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// State says what is known of a token.
type State int

// The states of a token, from the worst to the best.
const (
	// Expired: past its end.
	Expired State = iota
	// Suspect: before its stated end, but nothing is promised. The broker may have said so, or the promise has run out and was not renewed
	// because no replica can be reached.
	Suspect
	// Active: the upstream accepts the token for TTL longer.
	Active
)

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case Active:
		return "active"
	case Suspect:
		return "suspect"
	default:
		return "expired"
	}
}

const redacted = "[redacted]"

// longestLife is more than any token has. What claims more is cut, so that no sum overflows.
const longestLife = 10 * 365 * 24 * time.Hour

// Token is one version of a token and what is promised about it. It is a small value that never changes; only TTL and State go with the
// time. The zero Token is no token, and expired.
//
// A Token shows its value to nobody but the callers of Value: it prints, logs and marshals as its name, version and state.
type Token struct{ held *held }

// held is what a client knows of one version. It is never changed after it is published.
//
// The value is two pointers away from a Token: package fmt, which calls no method of a Token in an unexported field, follows one of them
// where it complains of a verb.
type held struct {
	name     string
	value    *string
	version  int64
	local    bool
	upstream string
	appID    string
	expires  time.Time

	clock    *clock
	promised instant // end of the promise
	nominal  instant // stated end, not before promised
	usable   instant // until when it is handed out without a second thought: promised less the least life that the client wants
}

// newHeld describes what the broker answered to a request that was sent at an instant.
func newHeld(c *clock, minLife time.Duration, sent instant, t *tokenbrokerv1.Token) *held {
	h := &held{
		name: t.GetName(), value: new(t.GetAccessToken()), version: t.GetVersion(), local: t.GetLocal(),
		upstream: t.GetUpstream(), appID: t.GetAppId(), clock: c, promised: sent,
	}
	if t.GetState() == tokenbrokerv1.TokenState_TOKEN_STATE_ACTIVE {
		h.promised = sent.add(min(max(t.GetTtl().AsDuration(), 0), longestLife))
	}
	h.nominal = h.promised
	if t.GetExpireTime() != nil {
		h.expires = t.GetExpireTime().AsTime()
		if t.GetState() != tokenbrokerv1.TokenState_TOKEN_STATE_EXPIRED { // or condemned before its stated end
			h.nominal = max(h.nominal, c.at(h.expires))
		}
	}
	h.usable = h.promised - instant(minLife)
	return h
}

// same reports whether two are about one value. A store that was put back in time may give its version to another value.
func (h *held) same(other *held) bool { return h.version == other.version && *h.value == *other.value }

// prolonged is h with the promise of an earlier answer about the same value, if that is the longer one.
func (h *held) prolonged(earlier *held) *held {
	longer := *h
	longer.promised, longer.nominal = max(h.promised, earlier.promised), max(h.nominal, earlier.nominal)
	longer.usable = max(h.usable, earlier.usable)
	return &longer
}

func (h *held) state(now instant) State {
	switch {
	case now < h.promised:
		return Active
	case now < h.nominal:
		return Suspect
	default:
		return Expired
	}
}

// known is what is known of the token; of no token, nothing.
func (t Token) known() *held {
	if t.held == nil {
		return &held{value: new("")}
	}
	return t.held
}

// Name returns the token's name in the broker's configuration.
func (t Token) Name() string { return t.known().name }

// Value returns what is sent to the upstream. It is a secret.
func (t Token) Value() string { return *t.known().value }

// Version grows with every new value. It is 0 for the zero Token.
func (t Token) Version() int64 { return t.known().version }

// TTL returns the life that is promised from now on; 0 when nothing is. It is counted from before the request was sent whose answer
// promised it, on the monotonic clock.
func (t Token) TTL() time.Duration {
	if t.held == nil {
		return 0
	}
	return max(t.held.promised.sub(t.held.clock.now()), 0)
}

// Expires returns the end that the upstream stated, on the broker's wall clock, for people and logs. It may lie far beyond TTL, and a token
// that is rotated dies before it. Zero if the broker did not tell.
func (t Token) Expires() time.Time { return t.known().expires }

// State returns what is known of the token now.
func (t Token) State() State {
	if t.held == nil {
		return Expired
	}
	return t.held.state(t.held.clock.now())
}

// Local reports whether one replica fetched the value alone, while it was cut off from the cluster's store. It is as good as any other.
func (t Token) Local() bool { return t.known().local }

// Upstream returns the kind of upstream that issued the token, such as "wechat stable". Empty if the broker did not tell.
func (t Token) Upstream() string { return t.known().upstream }

// AppID returns the application at the upstream that the token is of, such as WeChat's AppID. It is of this version: a name may stand for
// another application from one version to the next. Empty if the broker did not tell.
func (t Token) AppID() string { return t.known().appID }

// IsZero reports whether this is no token.
func (t Token) IsZero() bool { return t.held == nil }

// String describes the token without its value.
func (t Token) String() string {
	if t.held == nil {
		return "no token"
	}
	return fmt.Sprintf("token %q version %d (%v) %s", t.Name(), t.Version(), t.State(), redacted)
}

// GoString is String.
func (t Token) GoString() string { return t.String() }

// Format prints String for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue describes the token without its value.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", t.Name()), slog.Int64("version", t.Version()), slog.String("state", t.State().String()))
}

// MarshalJSON describes the token without its value.
func (t Token) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name    string `json:"name"`
		Version int64  `json:"version"`
		State   string `json:"state"`
		Value   string `json:"value"`
	}{t.Name(), t.Version(), t.State().String(), redacted})
}
