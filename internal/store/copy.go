package store

import "github.com/tokenbroker/tokenbroker/internal/token"

// SealRecord returns a record in its stored form, for a copy that is kept outside of etcd. The value is sealed as in etcd, for the key
// under which the token's record stands there.
func (s *Store) SealRecord(name string, rec token.Record) ([]byte, error) {
	return s.encodeRecord(s.keys.token(name), "", 0, rec)
}

// OpenRecord is the inverse of SealRecord. Its error is token.ErrSealed where the value does not open.
func (s *Store) OpenRecord(name string, data []byte) (token.Record, error) {
	return s.decodeRecord(s.keys.token(name), data)
}
