package token_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/gob"
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
	"text/template"

	"go.yaml.in/yaml/v4"

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
	// embedding has all methods of a Secret.
	embedding struct {
		token.Secret
		Other string
	}
	pair[T any] struct {
		first  T
		Second *T
	}
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
		"wrapped":    fmt.Errorf("fetching with %v: %w", unexported{s, "other"}, failing{s}),
		"joined":     errors.Join(failing{s}, fmt.Errorf("with %+v", exported{s})),
		"embedded":   embedding{Secret: s},
		"anonymous":  struct{ a, B *token.Secret }{&s, &s},
		"channel":    func() any { c := make(chan token.Secret, 1); c <- s; return c }(),
		"generic":    pair[token.Secret]{s, &s},
		"deep":       map[string]any{"list": []any{map[string]*exported{"x": {s}}}},
		"record":     token.Record{Version: 1, Value: s},
		"grant":      &token.Grant{Value: s},
		"orphan":     []token.Orphan{{Value: s}},
		"func":       func() token.Secret { return s },
	}
}

// valuer gives a value when it is logged.
type valuer struct{ what any }

func (v valuer) LogValue() slog.Value { return slog.GroupValue(slog.Any("inner", v.what)) }

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
	encoders := map[string]func(any) ([]byte, error){
		"JSON": json.Marshal,
		"XML":  xml.Marshal,
		"YAML": func(v any) ([]byte, error) { return yaml.Marshal(v) },
		"gob": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.Bytes(), err
		},
		"binary": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := binary.Write(&b, binary.BigEndian, v)
			return b.Bytes(), err
		},
		"a template": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := template.Must(template.New("").Parse(`{{.}} {{printf "%x" .}} {{html .}} {{js .}}`)).Execute(&b, v)
			return b.Bytes(), err
		},
	}
	succeeded := map[string]int{}
	for name, carrier := range carriers() {
		for encoder, encode := range encoders {
			text, err := encode(carrier) // most take no functions and channels, and some nothing that is not exported
			if err == nil {
				succeeded[encoder]++
			}
			mustHide(t, name+" as "+encoder, fmt.Sprint(string(text), err))
		}
	}
	for encoder, least := range map[string]int{"JSON": 15, "XML": 8, "YAML": 15, "a template": 20} {
		if succeeded[encoder] < least {
			t.Errorf("%s encoded %d of %d carriers only: the test looked at nothing", encoder, succeeded[encoder], len(carriers()))
		}
	}
}

// A Secret is made by NewSecret alone: nothing can be read into one, and what fails at that does not quote it.
func TestNothingIsReadIntoASecret(t *testing.T) {
	for name, read := range map[string]func(*exported) error{
		"Sscan": func(e *exported) error { _, err := fmt.Sscan(canary, &e.Value); return err },
		"JSON":  func(e *exported) error { return json.Unmarshal([]byte(`{"Value":"`+canary+`"}`), e) },
		"YAML":  func(e *exported) error { return yaml.Unmarshal([]byte("value: "+canary), e) },
	} {
		var e exported
		err := read(&e)
		if err == nil || e.Value != (token.Secret{}) {
			t.Errorf("%s fills a secret", name)
		}
		if name != "YAML" { // it quotes the document, which is why the configuration is not read this way
			mustHide(t, "the error of "+name, fmt.Sprint(err))
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
			log.Info("message", "later", valuer{carrier}, "all", []any{carrier}, "badly", slog.Any("", carrier))
			log.Info("message", carrier, carrier) // without a key
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
