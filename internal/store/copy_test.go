package store_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/store"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestACopyOfARecordOpensForItsTokenOnly(t *testing.T) {
	s, want := offline(t, &locked{}), version(3)
	data, err := s.SealRecord("t", want)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(want.Value.Reveal())) {
		t.Errorf("the value is not sealed in %s", data)
	}
	got, err := s.OpenRecord("t", data)
	if err != nil {
		t.Fatal(err)
	}
	if d := same(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := s.OpenRecord("other", data); !errors.Is(err, token.ErrSealed) {
		t.Errorf("for another token: error %v, want ErrSealed", err)
	}
	elsewhere, err := store.New(store.Config{Namespace: "/elsewhere/", Sealer: &locked{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.OpenRecord("t", data); !errors.Is(err, token.ErrSealed) {
		t.Errorf("in another namespace: error %v, want ErrSealed", err)
	}
}

// Neither may be put in place of the other: a snapshot is as easily overwritten as etcd.
func TestARecordAndItsCopyDoNotOpenInPlaceOfEachOther(t *testing.T) {
	s := offline(t, &locked{})
	stored, err := s.EncodeRecord(recordKey, "write", version(3))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenRecord("t", stored); !errors.Is(err, token.ErrSealed) {
		t.Errorf("a record as a copy: error %v, want ErrSealed", err)
	}
	copied, err := s.SealRecord("t", version(3))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.DecodeRecord(recordKey, copied); !errors.Is(err, token.ErrSealed) {
		t.Errorf("a copy as a record: error %v, want ErrSealed", err)
	}
}
