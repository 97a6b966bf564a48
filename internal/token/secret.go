package token

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// MaxValueSize is the longest value of a token in bytes. WeChat asks to reserve 512; other vendors' tokens are JWTs of up to 4 KiB.
const MaxValueSize = 4096

// ErrSealed means that a value at rest does not open with the present keys. What it comes with says why.
var ErrSealed = errors.New("a value at rest does not open")

const redacted = "[redacted]"

// Secret is a value that must not be seen: a token or an application's secret. It prints as "[redacted]" whatever the verb and marshals as that
// to JSON and text; other encoders refuse it, and none reads one. Only Reveal gives the value; its callers are few and can be listed. Two Secrets
// are == exactly when their values are.
//
// The value stands behind a pointer because package fmt calls no method of a Secret in an unexported field, nor after a wrong verb (%p): it then
// prints what a Secret is made of, which is an address. So do panics. What follows pointers by reflection, as go-cmp and dumpers of structures
// do, sees the value, and has its place in tests only.
type Secret struct{ handle unique.Handle[string] }

// NewSecret wraps a value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{unique.Make(value)}
}

// Reveal returns the value.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.handle.Value()
}

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s == Secret{} }

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// Format prints "[redacted]" for every verb, %#v and %x included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue keeps the value out of slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of JSON and every other text encoding.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
