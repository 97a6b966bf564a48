package token_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestGoodNamesAreAccepted(t *testing.T) {
	for _, name := range []string{
		"a", "0", "ab", "a-b", "a.b", "a_b", "a..b", "a-_.b", "demo-stable", "0123456789", "wx1a2b3c4d5e6f7890",
		strings.Repeat("x", token.MaxNameLength),
	} {
		if err := token.ValidateName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestBadNamesAreRefusedWithTheReason(t *testing.T) {
	for _, test := range []struct{ name, want string }{
		{"", "empty"},
		{strings.Repeat("x", token.MaxNameLength+1), "64 bytes long, at most 63"},
		{"A", "'A' at position 1"},
		{"abC", "'C' at position 3"},
		{"a/b", "'/' at position 2"},
		{"a b", "' ' at position 2"},
		{"a\nb", `'\n' at position 2`},
		{"a\x00", `'\x00' at position 2`},
		{"ä", "at position 1"},
		{"a%2f", "'%' at position 2"},
		{"-a", "must start and end"},
		{".a", "must start and end"},
		{"_a", "must start and end"},
		{"a-", "must start and end"},
		{"..", "must start and end"},
	} {
		err := token.ValidateName(test.name)
		if !errors.Is(err, token.ErrBadName) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want ErrBadName that says %q", test.name, err, test.want)
		}
	}
}

func FuzzValidateName(f *testing.F) {
	for _, seed := range []string{"", "a", "a-b", "-a", "a/b", "A", "demo-stable", "a\n", "..", strings.Repeat("x", 63), strings.Repeat("x", 64)} {
		f.Add(seed)
	}
	allowed := regexp.MustCompile(`\A[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\z`)
	f.Fuzz(func(t *testing.T, name string) {
		err := token.ValidateName(name)
		if good := allowed.MatchString(name); good != (err == nil) {
			t.Errorf("%q: error %v, but a good name is %v", name, err, good)
		}
		if err != nil && !errors.Is(err, token.ErrBadName) {
			t.Errorf("%q: %v is not an ErrBadName", name, err)
		}
	})
}
