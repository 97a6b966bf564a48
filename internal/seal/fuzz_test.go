package seal_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/seal"
)

// fixed is the same keyset in each run, so that what a run has found is of use to the next. It protects nothing.
func fixed(tb testing.TB) *seal.Keyset {
	tb.Helper()
	return must(seal.Parse(must(os.ReadFile("testdata/keyset.json"))(tb)))(tb)
}

// Nothing but what was sealed for this very place opens, whatever stands there: and the only value that ever was is this one.
func FuzzOpen(f *testing.F) {
	k := fixed(f)
	genuine := must(k.Seal([]byte(value), place))(f)
	moved := must(k.Seal([]byte(value), place+"2"))(f)
	foreign := must(newKeyset(f).Seal([]byte(value), place))(f)
	for _, seed := range [][]byte{nil, {}, {1}, genuine[:4], genuine[:5], genuine[:17], genuine[:33], genuine, moved, foreign, append(genuine, 0), []byte(value)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sealed []byte) {
		got, err := k.Open(sealed, place)
		refusal, told := errors.AsType[*seal.OpenError](err)
		switch {
		case err == nil && string(got) != value:
			t.Fatalf("%x opens as %q", sealed, got)
		case err != nil && (!told || got != nil):
			t.Fatalf("error %v with %q", err, got)
		case err != nil && refusal.Error() == "":
			t.Fatal("an error says nothing")
		}
		for _, sealer := range []interface {
			Open(sealed []byte, key string) ([]byte, error)
		}{seal.None{}, seal.Tolerant{Keyset: k}} {
			got, err := sealer.Open(sealed, place)
			if err == nil && !bytes.Equal(got, sealed) && string(got) != value {
				t.Fatalf("%T opens %x as %q", sealer, sealed, got)
			}
			if _, named := seal.KeyOf(got); err == nil && named {
				t.Fatalf("%T hands out a sealed value: %x", sealer, got)
			}
		}
	})
}

// Whatever is taken for a keyset can be used as one, written again, and goes through a rotation.
func FuzzKeyset(f *testing.F) {
	k := newKeyset(f)
	both, second := grown(f, k)
	promoted := must(both.Promote(second))(f)
	for _, k := range []*seal.Keyset{k, both, promoted, must(promoted.Disable(k.Primary()))(f)} {
		f.Add(must(k.Encode())(f))
	}
	f.Add([]byte(`{"primaryKeyId":1,"key":[]}`))
	f.Add([]byte(`{"encryptedKeyset":"AA=="}`))
	f.Add([]byte(`{"primaryKeyId":4294967296}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := seal.Parse(data)
		if err != nil {
			if k != nil || err.Error() == "" {
				t.Fatalf("%v with %v", k, err)
			}
			return
		}
		sealed := must(k.Seal([]byte(value), place))(t)
		if id, ok := seal.KeyOf(sealed); !ok || id != k.Primary() {
			t.Fatalf("sealed with %v, not the primary %v", id, k.Primary())
		}
		again := must(seal.Parse(must(k.Encode())(t)))(t)
		if got := must(again.Open(sealed, place))(t); string(got) != value {
			t.Fatalf("opened %q", got)
		}
		if _, _, err := k.Add(); err != nil && len(k.Keys()) < 64 {
			t.Fatal(err)
		}
	})
}
