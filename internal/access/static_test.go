package access_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/access"
)

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func TestFileOfStaticTokensHasANameAndAHashALine(t *testing.T) {
	got, err := access.ParseTokens([]byte("# callers\n\n  shop \t" + hash("a") + "\r\n\t# more\nTill-2.x " + strings.ToUpper(hash("b"))))
	if err != nil {
		t.Fatal(err)
	}
	want := []access.StaticToken{{Name: "shop", SHA256: sha256.Sum256([]byte("a"))}, {Name: "Till-2.x", SHA256: sha256.Sum256([]byte("b"))}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := access.ParseTokens(nil); len(got) > 0 || err != nil {
		t.Errorf("an empty file holds %v, %v", got, err)
	}
}

func TestEveryMistakeInAFileOfStaticTokensIsToldWithItsLineAndNoSecret(t *testing.T) {
	_, err := access.ParseTokens([]byte("shop " + hash("a") + "\n5ecre7\nshop " + hash("b") + "\ntill " + hash("a") + "\na:b " + hash("c") +
		"\nx 5ecre7\nx " + hash("d")[1:] + "\na b c\nlast " + hash("e")))
	var list interface{ Unwrap() []error }
	if !errors.As(err, &list) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, e := range list.Unwrap() {
		line := (*access.LineError)(nil)
		if !errors.As(e, &line) || line.Remedy == "" {
			t.Fatalf("got %v", e)
		}
		got = append(got, e.Error())
	}
	if want := []string{
		"line 2: it has 1 words; write a name and a hash, as broker caller create prints them",
		"line 3: line 1 has the same name; give each caller a name of its own",
		"line 4: line 1 has the same hash; make a secret for each caller",
		"line 5: this cannot be a caller's name; write letters, digits, '.', '_' and '-'",
		"line 6: the second word is not a SHA-256 in 64 hexadecimal digits; write the hash that broker caller create prints",
		"line 7: the second word is not a SHA-256 in 64 hexadecimal digits; write the hash that broker caller create prints",
		"line 8: it has 3 words; write a name and a hash, as broker caller create prints them",
	}; !cmp.Equal(want, got) {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestMethodsThatSomebodyHasDoNotChange(t *testing.T) {
	named := func(secret string) access.Config {
		return access.Config{Tokens: []access.StaticToken{{Name: "admin", SHA256: sha256.Sum256([]byte(secret))}}}
	}
	a := authenticator(t, named("former"))
	before := a.Present()
	if err := a.Configure(named("latter")); err != nil {
		t.Fatal(err)
	}
	for secret, methods := range map[string]*access.Methods{"former": before, "latter": a.Present()} {
		for _, brought := range []string{"former", "latter"} {
			if c, err := methods.Authenticate(t.Context(), shown(brought)); (err == nil) != (brought == secret) {
				t.Errorf("with the %s methods, who brings the %s secret is %v, %v", secret, brought, c.Identities, err)
			}
		}
	}
	known(t, a, shown("latter"), "token:admin")
}
