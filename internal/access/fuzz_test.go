package access_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

// FuzzPolicy compares decisions with what the rules say one by one. A line of rules is identities, tokens and verbs, separated by blanks; each
// of them is a list with commas.
func FuzzPolicy(f *testing.F) {
	f.Add("spiffe://a/* shop,wallet-* get,watch\ntoken:ops * resign", "spiffe://a/b,token:ops", "get", "wallet-1")
	f.Add("* * get\nanonymous shop get", "anonymous", "get", "shop")
	f.Add("*a*b*,**,a**b *-*-* list", "aab", "list", "a-b-c")
	f.Fuzz(func(t *testing.T, text, caller, verb, name string) {
		var list []access.Rule
		for line := range strings.Lines(text) {
			words := strings.Fields(line)
			if len(words) != 3 || len(line) > 200 || len(list) == 20 {
				return
			}
			r := access.Rule{Where: line, Identities: strings.Split(words[0], ","), Tokens: strings.Split(words[1], ",")}
			for word := range strings.SplitSeq(words[2], ",") {
				r.Verbs = append(r.Verbs, access.Verb(word))
			}
			list = append(list, r)
		}
		p, err := access.NewPolicy(list)
		if err != nil || len(caller)+len(name) > 60 {
			return
		}
		var ids []access.Identity
		for id := range strings.SplitSeq(caller, ",") {
			ids = append(ids, access.Identity(id))
		}
		got := p.Decide(who(ids...), access.Verb(verb), name)
		if want := plainly(list, ids, access.Verb(verb), name); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		allowed := true
		for _, r := range p.Explain(who(ids...), access.Verb(verb), name) {
			allowed = allowed && r.Allowed
		}
		if allowed != got.Allowed {
			t.Errorf("decided is %v, explained %v", got.Allowed, allowed)
		}
	})
}

// FuzzBearer shows anything as a bearer token, to an authenticator that takes two: who has neither is nobody.
func FuzzBearer(f *testing.F) {
	k := newKey(f, "k1")
	secret := strings.Repeat("5ecre7", 10)
	tokens, err := access.ParseTokens([]byte("ops " + hash(secret)))
	if err != nil {
		f.Fatal(err)
	}
	a := authenticator(f, access.Config{Tokens: tokens, Issuers: []access.Issuer{local(file(f, "keys", keySet(f, k)))}})
	good := k.sign(f, claims(nil))
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		"", "a", "a.b.c", secret, good, parts[0] + "." + parts[1] + ".", "." + parts[1] + "." + parts[2], "e30.e30.", strings.Repeat(".", 100),
		"eyJhbGciOiJub25lIn0." + parts[1] + ".", "eyJhbGciOiJIUzI1NiJ9." + parts[1] + "." + parts[2], newKey(f, "k1").sign(f, claims(nil)),
		k.sign(f, claims(map[string]any{"exp": 1})), k.sign(f, claims(map[string]any{"sub": "a\x00b"})),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, bearer string) {
		c, err := a.Authenticate(t.Context(), shown(bearer))
		switch {
		case bearer == "":
			if err != nil || join(c.Identities) != join([]access.Identity{access.Anonymous}) {
				t.Errorf("who brings nothing is %v, %v", c.Identities, err)
			}
		case bearer == secret || bearer == good:
			if err != nil {
				t.Error(err)
			}
		case err == nil:
			// Of the last character of a signature some bits do not count. What was signed must be the same.
			if !strings.HasPrefix(bearer, parts[0]+"."+parts[1]+".") || join(c.Identities) != "jwt:corp:shop " {
				t.Errorf("%q is %v", bearer, c.Identities)
			}
		case !errors.Is(err, access.ErrUnauthenticated) || len(c.Identities) > 0:
			t.Errorf("%q is %v, %v", bearer, c.Identities, err)
		case !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 2000:
			t.Errorf("not to be shown: %q", err.Error())
		}
	})
}

// FuzzTokenFile reads anything as a file of static tokens.
func FuzzTokenFile(f *testing.F) {
	f.Add([]byte("# callers\nshop " + hash("a") + "\n\ntill\t" + hash("b") + "\r\n"))
	f.Add([]byte("shop " + hash("a") + "\nshop " + hash("b") + "\nx " + hash("a")))
	f.Add([]byte("\xff\x00 a\n" + strings.Repeat("a ", 50000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		tokens, err := access.ParseTokens(data)
		if err != nil {
			if len(tokens) > 0 {
				t.Error("there are tokens beside an error")
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "line ") || len(line) > 200 {
					t.Errorf("the error is %q", line)
				}
			}
			return
		}
		// What was read says everything: written down, it is read the same.
		var again bytes.Buffer
		names := map[string]bool{}
		for _, tok := range tokens {
			again.WriteString(tok.Name + " " + hex.EncodeToString(tok.SHA256[:]) + "\n")
			if names[tok.Name] || !access.CallerName.MatchString(tok.Name) {
				t.Errorf("there is a caller %q", tok.Name)
			}
			names[tok.Name] = true
		}
		second, err := access.ParseTokens(again.Bytes())
		if err != nil || len(second) != len(tokens) {
			t.Errorf("%d tokens are %d the second time, %v", len(tokens), len(second), err)
		}
	})
}
