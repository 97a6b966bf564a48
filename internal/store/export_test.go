package store

import "github.com/tokenbroker/tokenbroker/internal/token"

// EncodeRecord and DecodeRecord are the stored form, for tests that need no etcd.

func (s *Store) EncodeRecord(key, write string, rec token.Record) ([]byte, error) {
	return s.encodeRecord(key, write, 7, rec)
}

func (s *Store) DecodeRecord(key string, data []byte) (token.Record, error) {
	return s.decodeRecord(key, data)
}

func (s *Store) EncodeOrphan(key string, o token.Orphan) ([]byte, error) {
	return s.encodeOrphan(key, o)
}

func (s *Store) DecodeOrphan(key, attempt string, data []byte) (token.Orphan, error) {
	return s.decodeOrphan(key, attempt, data)
}
