package token

import (
	"fmt"
	"io"
	"log/slog"
)

// MaxValueSize is the longest value of a token in bytes. WeChat asks to reserve 512; other vendors' tokens are JWTs of up to 4 KiB.
const MaxValueSize = 4096

const redacted = "[redacted]"

// Secret is a value that must not be seen: a token or an application's secret. It prints as "[redacted]" whatever the verb and
// marshals as that to JSON and text. Only Reveal gives the value; its callers are few and can be listed.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.value == "" }

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// Format prints "[redacted]" for every verb, %#v and %x included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue keeps the value out of slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of JSON and every other text encoding.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
