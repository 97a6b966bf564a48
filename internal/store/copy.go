package store

import "github.com/tokenbroker/tokenbroker/internal/token"

// SealRecord returns a record in its stored form, for a copy that is kept outside of etcd. The value is sealed with the same key as in
// etcd, for a place of its own: neither opens in place of the other.
func (s *Store) SealRecord(name string, rec token.Record) ([]byte, error) {
	return s.encodeRecord(s.keys.copy(name), "", 0, rec)
}

// OpenRecord is the inverse of SealRecord. Its error is token.ErrSealed where the value does not open.
func (s *Store) OpenRecord(name string, data []byte) (token.Record, error) {
	return s.decodeRecord(s.keys.copy(name), data)
}

// CurrentRecord reports whether SealRecord would seal the value with the same key.
func (s *Store) CurrentRecord(data []byte) bool {
	sealed, err := sealedIn(data)
	return err == nil && (len(sealed) == 0 || s.sealer.Current(sealed))
}
