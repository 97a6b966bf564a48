package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

// goTypes are words by which a message would tell of the program instead of the configuration.
var goTypes = regexp.MustCompile(`\b(struct|map\[|\[\]string|int64|nil|main\.|yaml\.|runtime)\b`)

func FuzzConfig(f *testing.F) {
	for _, tc := range configMistakes {
		f.Add(tc.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, warnings, err := loadConfig(sources{File: "broker.yaml", Data: []byte(text), Env: fakeEnvironment(nil), Dry: true})
		var found problems
		errors.As(err, &found)
		if (cfg == nil) != (len(found) > 0) {
			t.Fatalf("got a configuration: %v, and problems: %v", cfg != nil, found)
		}
		last := 1 // the last line, or a later one: YAML knows more line breaks than one
		for _, r := range text {
			if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) {
				last++
			}
		}
		for _, p := range append(found, warnings...) {
			if p.Line < 1 || p.Line > last+1 || p.Column < 1 || p.What == "" {
				t.Errorf("%d lines, but a problem at %+v", last, p)
			}
			// What is quoted from the file may be anything.
			if quoted := regexp.MustCompile(`"(\\.|[^"\\])*"`).ReplaceAllString(p.What, ""); goTypes.MatchString(quoted) {
				t.Errorf("the program's words: %s", p.What)
			}
		}
		if cfg != nil {
			checkConfig(t, cfg)
		}
	})
}

// checkConfig looks at what the rest of the program relies on.
func checkConfig(t *testing.T, cfg *config) {
	t.Helper()
	if (len(cfg.Etcd.Endpoints) > 0) == (cfg.Etcd.Embedded != nil) {
		t.Errorf("endpoints %v and embedded %v", cfg.Etcd.Endpoints, cfg.Etcd.Embedded)
	}
	names := map[string]bool{}
	for _, tok := range cfg.Tokens {
		if err := token.ValidateName(tok.Name); err != nil || names[tok.Name] {
			t.Errorf("token %q: %v, seen before: %v", tok.Name, err, names[tok.Name])
		}
		names[tok.Name] = true
		if _, err := tok.Policy.Complete(tok.Traits, tok.Timing); err != nil {
			t.Error(err)
		}
	}
	if len(names) == 0 {
		t.Error("no tokens")
	}
}
