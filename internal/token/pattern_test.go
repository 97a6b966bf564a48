package token_test

import (
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

func TestAsteriskOfAPatternStandsForAnyCharacters(t *testing.T) {
	for _, tc := range []struct {
		pattern  string
		yes, not []string
	}{
		{"", []string{""}, []string{"a", "*"}},
		{"shop", []string{"shop"}, []string{"", "sho", "shop1", "ashop"}},
		{"*", []string{"", "a", "a/b:c", "*"}, nil},
		{"**", []string{"", "a"}, nil},
		{"shop-*", []string{"shop-", "shop-1", "shop-*"}, []string{"shop", "ashop-1"}},
		{"*-test", []string{"-test", "a-test"}, []string{"test", "a-test1"}},
		{"a*a", []string{"aa", "aba", "aaa"}, []string{"a", "ab"}},
		{"a*b*c", []string{"abc", "axbxc", "abbcc", "acbbc"}, []string{"ac", "acb", "abcb"}},
		{"*ab*ab*", []string{"abab", "xabxabx"}, []string{"ab", "aba", "bab"}},
		{"spiffe://*/shop", []string{"spiffe://example.org/ns/web/shop"}, []string{"spiffe://shop"}},
		{"a?[b]", []string{"a?[b]"}, []string{"axb", "a?b"}},
	} {
		p := token.NewPattern(tc.pattern)
		for _, text := range tc.yes {
			if !p.Match(text) {
				t.Errorf("%q does not match %q", tc.pattern, text)
			}
		}
		for _, text := range tc.not {
			if p.Match(text) {
				t.Errorf("%q matches %q", tc.pattern, text)
			}
		}
		if p.Exact() == strings.Contains(tc.pattern, "*") || p.All() != (tc.pattern == "*" || tc.pattern == "**") {
			t.Errorf("%q: exact is %v, all is %v", tc.pattern, p.Exact(), p.All())
		}
	}
}

func TestPatternMatchesWhatAFilePatternOfTheSameTextDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern, text := rapid.StringMatching(`[ab*]{0,8}`).Draw(t, "pattern"), rapid.StringMatching(`[ab]{0,10}`).Draw(t, "text")
		want, err := path.Match(pattern, text)
		if err != nil {
			t.Fatal(err)
		}
		p := token.NewPattern(pattern)
		if got := p.Match(text); got != want {
			t.Errorf("%q and %q: %v", pattern, text, got)
		}
	})
}
