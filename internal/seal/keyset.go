package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

const (
	// MaxSize bounds the serialized form of a keyset in bytes.
	MaxSize = 64 << 10
	// maxKeys bounds how many keys a keyset holds. A rotation needs two.
	maxKeys = 64
	// keySize is that of AES-256 in bytes.
	keySize = 32
)

var errDamaged = errors.New("its keys cannot be used: they were damaged")

// ID names a key in a keyset. It is written in decimal, as in the keyset's file.
type ID uint32

func (id ID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Key is what may be known of a key.
type Key struct {
	ID      ID
	Primary bool
	// Enabled: it opens what it has sealed.
	Enabled bool
}

// Keyset seals and opens. It is not changed after it was made, and may be used by several goroutines. It prints as "[redacted]"; only
// Encode gives the keys away.
type Keyset struct {
	handle *keyset.Handle
	aead   tink.AEAD
	keys   []Key
}

// New makes a keyset of one new key.
func New() (*Keyset, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return from(handle)
}

// Parse is the inverse of Encode. Its error says nothing of what is in data, which may be a secret of any kind.
func Parse(data []byte) (*Keyset, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxSize)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		if bytes.Contains(data, []byte(`"encryptedKeyset"`)) {
			return nil, errors.New("it is an encrypted keyset, which this program cannot read")
		}
		return nil, errors.New("it is not a keyset in Tink's JSON form, or was damaged") // Tink's own error may quote it
	}
	return from(handle)
}

// from checks what Tink accepts and this package does not: other ciphers, and keys whose values do not name them.
func from(handle *keyset.Handle) (*Keyset, error) {
	if handle.Len() > maxKeys {
		return nil, fmt.Errorf("it has %d keys, more than %d; delete old ones", handle.Len(), maxKeys)
	}
	k := &Keyset{handle: handle}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, errDamaged
		}
		id := ID(entry.KeyID())
		if key, ok := entry.Key().(*aesgcm.Key); !ok || !suits(key) {
			return nil, fmt.Errorf("its key %v is not of the kind that is used here: AES256_GCM", id)
		}
		k.keys = append(k.keys, Key{ID: id, Primary: entry.IsPrimary(), Enabled: entry.KeyStatus() == keyset.Enabled})
	}
	if k.Primary() == 0 {
		return nil, errors.New("it has no enabled primary key")
	}
	var err error
	if k.aead, err = aead.New(handle); err != nil {
		return nil, errDamaged
	}
	return k, nil
}

// suits reports whether a key is as New makes them.
func suits(key *aesgcm.Key) bool {
	p, ok := key.Parameters().(*aesgcm.Parameters)
	return ok && p.KeySizeInBytes() == keySize && p.Variant() == aesgcm.VariantTink
}

// Encode returns the keyset in its serialized form. It is a secret.
func (k *Keyset) Encode() ([]byte, error) {
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&out)); err != nil {
		return nil, fmt.Errorf("encoding the keyset: %w", err)
	}
	return append(out.Bytes(), '\n'), nil
}

// Keys lists the keys in the order in which they were added.
func (k *Keyset) Keys() []Key { return append([]Key(nil), k.keys...) }

// Primary returns the key that seals.
func (k *Keyset) Primary() ID {
	for _, key := range k.keys {
		if key.Primary && key.Enabled {
			return key.ID
		}
	}
	return 0
}

// find returns the key of an id.
func (k *Keyset) find(id ID) (Key, bool) {
	for _, key := range k.keys {
		if key.ID == id {
			return key, true
		}
	}
	return Key{}, false
}

const redacted = "[redacted]"

// String returns "[redacted]".
func (k *Keyset) String() string { return redacted }

// Format prints "[redacted]" for every verb.
func (k *Keyset) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue keeps the keys out of slog.
func (k *Keyset) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the keys out of JSON and every other text encoding.
func (k *Keyset) MarshalText() ([]byte, error) { return []byte(redacted), nil }
