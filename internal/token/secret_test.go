package token_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

const canary = "76_canary-7Qz0-value"

// TestMain lets the test binary be the process that panics in TestAPanicShowsNoSecret.
func TestMain(m *testing.M) {
	if what := os.Getenv("TOKEN_TEST_PANIC"); what != "" {
		panic(carriers()[what])
	}
	os.Exit(m.Run())
}

type (
	exported   struct{ Value token.Secret }
	unexported struct {
		value token.Secret
		other string
	}
	nested  struct{ inner *unexported }
	failing struct{ value token.Secret }
)

func (f failing) Error() string { return fmt.Sprintf("failed with %v", f.value) }

// carriers are the ways in which a Secret is carried about, by name.
func carriers() map[string]any {
	s := token.NewSecret(canary)
	return map[string]any{
		"secret":     s,
		"pointer":    &s,
		"slice":      []token.Secret{s},
		"array":      [1]token.Secret{s},
		"map":        map[string]token.Secret{"key": s},
		"key":        map[token.Secret]string{s: "value"},
		"exported":   exported{s},
		"unexported": unexported{s, "other"},
		"address":    &unexported{s, "other"},
		"nested":     nested{&unexported{s, "other"}},
		"any":        []any{s, unexported{s, "other"}},
		"error":      failing{s},
		"record":     token.Record{Version: 1, Value: s},
		"grant":      &token.Grant{Value: s},
		"orphan":     []token.Orphan{{Value: s}},
		"func":       func() token.Secret { return s },
	}
}

// forms are the spellings in which a format verb or an encoder could give the canary away.
func forms() []string {
	raw := []byte(canary)
	decimal := strings.Trim(fmt.Sprintf("%d", raw), "[]")
	return []string{
		canary, hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), fmt.Sprintf("% x", raw), fmt.Sprintf("%#v", raw),
		decimal, base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
	}
}

func mustHide(t *testing.T, how, text string) {
	t.Helper()
	for _, form := range forms() {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the secret: %s", how, text)
			return
		}
	}
}

func TestNoVerbShowsASecret(t *testing.T) {
	for name, carrier := range carriers() {
		for _, verb := range "vsqxXdtboOcUeEfFgGpTw" {
			for _, flags := range []string{"", "+", "#", "+#", " ", "-40", "040", ".3"} {
				format := "%" + flags + string(verb)
				mustHide(t, name+" by "+format, fmt.Sprintf(format, carrier))
			}
		}
		mustHide(t, name+" by Print", fmt.Sprint(carrier))
		mustHide(t, name+" by Println", fmt.Sprintln(carrier))
		for _, wrong := range []string{"%", "no verb at all", "%[2]v", "%*d", "%.*d"} {
			mustHide(t, name+" by the wrong format "+wrong, fmt.Sprintf(wrong, carrier, 1))
		}
	}
}

func TestASecretPrintsAsRedacted(t *testing.T) {
	s := token.NewSecret(canary)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		if got := fmt.Sprintf(verb, s); got != "[redacted]" {
			t.Errorf("%s prints %q, want [redacted]", verb, got)
		}
	}
	if got := s.String(); got != "[redacted]" {
		t.Errorf("String returns %q", got)
	}
}

func TestNoEncoderShowsASecret(t *testing.T) {
	for name, carrier := range carriers() {
		if name == "func" {
			continue // no encoder takes it
		}
		if text, err := json.Marshal(carrier); err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			mustHide(t, name+" as JSON", string(text))
		}
		if text, err := xml.Marshal(carrier); err == nil { // it takes no maps
			mustHide(t, name+" as XML", string(text))
		}
	}
}

func TestNoLogShowsASecret(t *testing.T) {
	for _, handler := range []struct {
		name string
		make func(*strings.Builder) slog.Handler
	}{
		{"text", func(b *strings.Builder) slog.Handler { return slog.NewTextHandler(b, nil) }},
		{"json", func(b *strings.Builder) slog.Handler { return slog.NewJSONHandler(b, nil) }},
	} {
		for name, carrier := range carriers() {
			var b strings.Builder
			log := slog.New(handler.make(&b)).With("with", carrier).WithGroup("group")
			log.Info("message", "plain", carrier, slog.Group("inner", "grouped", carrier))
			mustHide(t, name+" in a "+handler.name+" log", b.String())
		}
	}
}

func TestNoErrorShowsASecret(t *testing.T) {
	s := token.NewSecret(canary)
	err := errors.Join(fmt.Errorf("fetching with %v: %w", s, failing{s}), &token.Failure{Code: "x", Message: s.String()})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		mustHide(t, "an error by "+verb, fmt.Sprintf(verb, err))
	}
}

func TestAPanicShowsNoSecret(t *testing.T) {
	for name := range carriers() {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "TOKEN_TEST_PANIC="+name)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "panic: ") {
			t.Fatalf("the process should have panicked with %s, but: %v\n%s", name, err, out)
		}
		mustHide(t, "a panic with "+name, string(out))
	}
}

func TestRevealGivesWhatWasWrapped(t *testing.T) {
	for _, value := range []string{"", "a", canary, strings.Repeat("x", token.MaxValueSize), "\x00\xff"} {
		s := token.NewSecret(value)
		if got := s.Reveal(); got != value {
			t.Errorf("Reveal returns %q, want %q", got, value)
		}
		if got, want := s.IsZero(), value == ""; got != want {
			t.Errorf("IsZero of %q is %v, want %v", value, got, want)
		}
	}
	var zero token.Secret
	if zero.Reveal() != "" || !zero.IsZero() {
		t.Errorf("the zero Secret reveals %q, IsZero %v", zero.Reveal(), zero.IsZero())
	}
}

func TestSecretsAreEqualExactlyWhenTheirValuesAre(t *testing.T) {
	a, b := token.NewSecret(canary), token.NewSecret(strings.Clone(canary))
	if a != b {
		t.Error("two secrets of one value differ")
	}
	if a == token.NewSecret(canary+"x") || a == (token.Secret{}) {
		t.Error("two secrets of different values are equal")
	}
	if token.NewSecret("") != (token.Secret{}) {
		t.Error("a secret without a value is not the zero Secret")
	}
}
