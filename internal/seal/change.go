package seal

import (
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Add returns the keyset with a new key at its end, which opens and does not seal yet, and the key's id.
func (k *Keyset) Add() (*Keyset, ID, error) {
	var id uint32
	next, err := k.change(func(m *keyset.Manager) (err error) {
		id, err = m.Add(aead.AES256GCMKeyTemplate())
		return err
	})
	return next, ID(id), err
}

// Promote returns the keyset with another primary, which must be enabled.
func (k *Keyset) Promote(id ID) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.SetPrimary(uint32(id)) })
}

// Disable returns the keyset with a key that does not open any more. It is still there, and can be enabled. The primary cannot be disabled.
func (k *Keyset) Disable(id ID) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.Disable(uint32(id)) })
}

// Enable is the inverse of Disable.
func (k *Keyset) Enable(id ID) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.Enable(uint32(id)) })
}

// Delete returns the keyset without a key, for good: what it has sealed opens nowhere any more. The primary cannot be deleted.
func (k *Keyset) Delete(id ID) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.Delete(uint32(id)) })
}

// change makes a keyset that differs. The manager has a copy of the keys.
func (k *Keyset) change(by func(*keyset.Manager) error) (*Keyset, error) {
	m := keyset.NewManagerFromHandle(k.handle)
	if err := by(m); err != nil {
		return nil, fmt.Errorf("changing the keyset: %w", err)
	}
	handle, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("changing the keyset: %w", err)
	}
	return from(handle)
}
