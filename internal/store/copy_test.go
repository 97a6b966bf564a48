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
