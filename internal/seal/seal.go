package seal

import (
	"encoding/binary"
	"errors"
)

const (
	// mark is the first byte of every sealed value, and of no token.
	mark = 1
	// prefixSize is the length of the mark and the key's id.
	prefixSize = 5
)

// KeyOf returns which key a value names that it was sealed with; false if it is not sealed. That it names it proves nothing.
func KeyOf(value []byte) (ID, bool) {
	if len(value) < prefixSize || value[0] != mark {
		return 0, false
	}
	return ID(binary.BigEndian.Uint32(value[1:prefixSize])), true
}

// Seal encrypts a value with the primary, for the key under which it will stand.
func (k *Keyset) Seal(value []byte, key string) ([]byte, error) {
	return k.aead.Encrypt(value, []byte(key))
}

// Open is the inverse of Seal, with whichever enabled key the value was sealed with. Its error is an *OpenError.
func (k *Keyset) Open(sealed []byte, key string) ([]byte, error) {
	id, named := KeyOf(sealed)
	if !named {
		if len(sealed) > 0 && sealed[0] == mark {
			return nil, &OpenError{Why: Changed}
		}
		return nil, &OpenError{Why: Unsealed}
	}
	switch found, ok := k.find(id); {
	case !ok:
		return nil, &OpenError{Why: MissingKey, Key: id, Have: k.keys}
	case !found.Enabled:
		return nil, &OpenError{Why: DisabledKey, Key: id, Have: k.keys}
	}
	value, err := k.aead.Decrypt(sealed, []byte(key))
	if err != nil {
		return nil, &OpenError{Why: Changed, Key: id}
	}
	return value, nil
}

// Current reports whether Seal would use the same key.
func (k *Keyset) Current(sealed []byte) bool {
	id, named := KeyOf(sealed)
	return named && id == k.Primary()
}

// Tolerant is a keyset that takes values in, too, that are not sealed: for the time in which a cluster's values are sealed for the first
// time. Until then whoever can write to etcd can bring tokens in.
type Tolerant struct{ *Keyset }

// Open returns values that are not sealed as they are.
func (t Tolerant) Open(sealed []byte, key string) ([]byte, error) {
	if visible(sealed) {
		return sealed, nil
	}
	return t.Keyset.Open(sealed, key)
}

// None is what a replica without a keyset has for one: it protects nothing. But it does not take for a token what others have sealed.
type None struct{}

var errNotVisible = errors.New("it has other characters than visible ones, and would not be told from a sealed value")

// Seal returns the value as it is.
func (None) Seal(value []byte, _ string) ([]byte, error) {
	if !visible(value) {
		return nil, errNotVisible
	}
	return value, nil
}

// Open returns what is not sealed as it is. Its error is an *OpenError.
func (None) Open(value []byte, _ string) ([]byte, error) {
	if visible(value) {
		return value, nil
	}
	if id, sealed := KeyOf(value); sealed {
		return nil, &OpenError{Why: MissingKey, Key: id}
	}
	return nil, &OpenError{Why: Changed}
}

// Current reports whether Open takes it.
func (None) Current(value []byte) bool { return visible(value) }

// visible reports whether a value is of visible ASCII characters, as every token is, and no sealed value.
func visible(value []byte) bool {
	for _, b := range value {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return len(value) > 0
}
