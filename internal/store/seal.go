package store

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// Sealer protects values at rest. The key under which a value is stored goes into the seal, so that a value that was moved to
// another key does not open.
type Sealer interface {
	Seal(value []byte, key string) ([]byte, error)
	// Open must not take for a value what it cannot tell to be one. An error that has a method Reason() string gives metrics a word for it.
	Open(sealed []byte, key string) ([]byte, error)
	// Current reports whether Seal would seal with the same key as this was.
	Current(sealed []byte) bool
}

func (s *Store) seal(key string, value token.Secret) ([]byte, error) {
	if value.IsZero() {
		return nil, nil
	}
	sealed, err := s.sealer.Seal([]byte(value.Reveal()), key)
	if err != nil {
		return nil, fmt.Errorf("%w: sealing the value of %s: %w", errFinal, key, err)
	}
	return sealed, nil
}

func (s *Store) open(key string, sealed []byte) (token.Secret, error) {
	if len(sealed) == 0 {
		return token.Secret{}, nil
	}
	value, err := s.sealer.Open(sealed, key)
	if err != nil {
		return token.Secret{}, fmt.Errorf("%w: %w: that of %s: %w", errFinal, token.ErrSealed, key, err)
	}
	return token.NewSecret(string(value)), nil
}

// sealedIn returns the sealed value in the stored form of a record or of an orphan; nil if there is none.
func sealedIn(data []byte) ([]byte, error) {
	var all members
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	var in struct {
		Sealed []byte `json:"sealed"`
	}
	_, err := all.take(&in)
	return in.Sealed, err
}

// otherReason is why a record cannot be used that has nothing to do with how its value is sealed.
const otherReason = "unreadable"

// reasonOf is a word for why a record cannot be used.
func reasonOf(err error) string {
	if told, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok {
		return told.Reason()
	}
	return otherReason
}
