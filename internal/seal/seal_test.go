package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/seal"
)

// why returns why a value does not open.
func why(t *testing.T, value []byte, err error) seal.Why {
	t.Helper()
	refusal, ok := errors.AsType[*seal.OpenError](err)
	if !ok || value != nil {
		t.Fatalf("got %q, error %v", value, err)
	}
	return refusal.Why
}

func TestWhatWasSealedOpensInItsPlaceAlone(t *testing.T) {
	k := newKeyset(t)
	rapid.Check(t, func(t *rapid.T) {
		want, at := rapid.SliceOf(rapid.Byte()).Draw(t, "value"), rapid.String().Draw(t, "place")
		sealed, err := k.Seal(want, at)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(sealed, at); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("it does not open: %v", err)
		}
		elsewhere := rapid.String().Filter(func(s string) bool { return s != at }).Draw(t, "elsewhere")
		if got, err := k.Open(sealed, elsewhere); err == nil {
			t.Fatalf("what was sealed for %q opens for %q: %q", at, elsewhere, got)
		}
	})
}

func TestASealedValueShowsNothingOfTheToken(t *testing.T) {
	sealed := must(newKeyset(t).Seal([]byte(value), place))(t)
	for i := range len(value) - 3 {
		if part := []byte(value[i : i+4]); bytes.Contains(sealed, part) || bytes.Contains(sealed, []byte(base64.StdEncoding.EncodeToString(part))) {
			t.Errorf("a part of the token is in it: %q", part)
		}
	}
	if again := must(newKeyset(t).Seal([]byte(value), place))(t); bytes.Equal(again, sealed) {
		t.Error("the same value looks the same")
	}
}

func TestEveryReasonWhyAValueDoesNotOpenIsToldApart(t *testing.T) {
	old := newKeyset(t)
	both, second := grown(t, old)
	promoted := must(both.Promote(second))(t)
	sealed := must(old.Seal([]byte(value), place))(t)
	flipped := slices.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for _, tc := range []struct {
		name   string
		sealer interface {
			Open(sealed []byte, key string) ([]byte, error)
		}
		value []byte
		place string
		want  seal.Why
		says  string
	}{
		{"another keyset", newKeyset(t), sealed, place, seal.MissingKey, "is sealed with key " + old.Primary().String() + ", which is missing here: the keyset has "},
		{"no keyset", seal.None{}, sealed, place, seal.MissingKey, "there is no keyset"},
		{"a disabled key", must(promoted.Disable(old.Primary()))(t), sealed, place, seal.DisabledKey, "broker keys enable FILE " + old.Primary().String()},
		{"never sealed", old, []byte(value), place, seal.Unsealed, "insecure_plaintext_store"},
		{"nothing", old, nil, place, seal.Unsealed, ""},
		{"moved", old, sealed, place + "2", seal.Changed, "moved here from another key, or changed"},
		{"moved, while what is not sealed is taken", seal.Tolerant{Keyset: old}, sealed, place + "2", seal.Changed, ""},
		{"one bit changed", old, flipped, place, seal.Changed, ""},
		{"one bit changed, without a keyset", seal.None{}, append([]byte{2}, sealed[1:]...), place, seal.Changed, ""},
		{"cut off within the key's id", old, sealed[:3], place, seal.Changed, ""},
		{"cut off after it", old, sealed[:5], place, seal.Changed, ""},
		{"cut off within the tag", old, sealed[:len(sealed)-1], place, seal.Changed, ""},
	} {
		got, err := tc.sealer.Open(tc.value, tc.place)
		if found := why(t, got, err); found != tc.want || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %s: %v", tc.name, found, err)
		}
		if strings.Contains(err.Error(), value) {
			t.Errorf("%s: the error shows the token: %v", tc.name, err)
		}
	}
}

func TestValuesThatAreNotSealedAreTakenOnlyWhereThatIsSaid(t *testing.T) {
	k := newKeyset(t)
	if got, err := (seal.Tolerant{Keyset: k}).Open([]byte(value), place); err != nil || string(got) != value {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := (seal.None{}).Open([]byte(value), place); err != nil || string(got) != value {
		t.Errorf("without a keyset: %q, %v", got, err)
	}
	if sealed := must(seal.Tolerant{Keyset: k}.Seal([]byte(value), place))(t); !k.Current(sealed) {
		t.Error("what is written in that time is not sealed")
	}
	if _, err := (seal.None{}).Seal([]byte{1, 2, 3, 4, 5}, place); err == nil {
		t.Error("a value that looks sealed is kept as it is")
	}
}

func TestOnlyThePrimarySeals(t *testing.T) {
	old := newKeyset(t)
	both, second := grown(t, old)
	promoted := must(both.Promote(second))(t)
	for name, tc := range map[string]struct {
		k    *seal.Keyset
		want seal.ID
	}{"one key": {old, old.Primary()}, "a key that was added": {both, old.Primary()}, "promoted": {promoted, second}} {
		sealed := must(tc.k.Seal([]byte(value), place))(t)
		if id, ok := seal.KeyOf(sealed); !ok || id != tc.want || !tc.k.Current(sealed) {
			t.Errorf("%s: sealed with %v, want %v", name, id, tc.want)
		}
	}
	sealed := must(old.Seal([]byte(value), place))(t)
	if got := must(promoted.Open(sealed, place))(t); string(got) != value || promoted.Current(sealed) {
		t.Errorf("what the old primary sealed opens as %q, and is current: %v", got, promoted.Current(sealed))
	}
}

func BenchmarkSeal(b *testing.B) {
	k := newKeyset(b)
	for b.Loop() {
		if _, err := k.Seal([]byte(value), place); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k := newKeyset(b)
	sealed := must(k.Seal([]byte(value), place))(b)
	for b.Loop() {
		if _, err := k.Open(sealed, place); err != nil {
			b.Fatal(err)
		}
	}
}
