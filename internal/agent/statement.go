package agent

import (
	"encoding/json"
	"os"
	"time"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
)

// statement is what a file says of a token, besides its value: what was true at WrittenAt. Times are of this machine's wall clock, but for
// ExpiresAt, which is of the broker's.
type statement struct {
	Name    string `json:"name"`
	Version int64  `json:"version"`
	// State is active, suspect, or expired; then there is no value.
	State string `json:"state"`
	// ExpiresIn is for how many seconds after WrittenAt the token is promised to live: rounded down, 0 unless it is active.
	ExpiresIn int64 `json:"expires_in"`
	// ExpiresAt is the end that the upstream stated, for people. A token that is rotated dies before it.
	ExpiresAt time.Time `json:"expires_at"`
	WrittenAt time.Time `json:"written_at"`

	until time.Time // the end of the promise
}

// stateOf says what is true of a token now.
func stateOf(held tokenbroker.Token) statement {
	now := time.Now() // first: the promise is said to end too early rather than too late
	ttl := held.TTL()
	s := statement{
		Name: held.Name(), Version: held.Version(), State: tokenbroker.Suspect.String(), ExpiresIn: int64(ttl / time.Second),
		ExpiresAt: held.Expires().UTC().Truncate(time.Second), WrittenAt: now.UTC().Truncate(time.Second), until: now.Add(ttl).Round(0),
	}
	if ttl > 0 {
		s.State = tokenbroker.Active.String()
	}
	return s
}

// dead is what to say when the token of a statement is no more.
func (s statement) dead(name string) statement {
	return statement{
		Name: name, Version: s.Version, State: tokenbroker.Expired.String(), ExpiresAt: s.ExpiresAt,
		WrittenAt: time.Now().UTC().Truncate(time.Second),
	}
}

// outdatedBy reports whether another statement about the same value says something new: of a promise, only if it ends at an essentially
// different time. One that was read from a file, or says nothing, is always outdated.
func (s statement) outdatedBy(next statement) bool {
	switch {
	case s.until.IsZero(), s.Version != next.Version, s.State != next.State:
		return true
	case next.ExpiresIn == 0 && s.ExpiresIn == 0:
		return false // nothing is promised, which stays as true as it was
	}
	return next.until.Sub(s.until).Abs() >= min(renewal, max(next.until.Sub(next.WrittenAt)/4, renewal/50))
}

// encode returns the content of a file.
func (s statement) encode(value string, bare bool) []byte {
	if bare {
		return []byte(value + "\n")
	}
	text, _ := json.MarshalIndent(struct { // strings, numbers and times of this millennium
		AccessToken string `json:"access_token,omitempty"`
		statement
	}{value, s}, "", "  ")
	return append(text, '\n')
}

// inherit returns what the file says that a predecessor left; nothing if that is of no use.
func (f File) inherit() statement {
	data, err := os.ReadFile(f.Path)
	var s statement
	if f.Bare || err != nil || json.Unmarshal(data, &s) != nil || s.Name != f.Token || s.State == tokenbroker.Expired.String() {
		return statement{}
	}
	return s
}
