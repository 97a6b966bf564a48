package upstream

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tokenbroker/tokenbroker/internal/token"
)

const (
	redaction = "[redacted]"
	ellipsis  = "..."
	// shortestCore is the shortest piece of base64 that is looked for; shorter ones occur in ordinary words.
	shortestCore = 4
)

// Scrub makes foreign text fit to be kept and shown: it is Redact and then Cut to token.MaxMessageSize bytes.
func Scrub(text string, secrets ...token.Secret) string {
	return Cut(Redact(text, secrets...), token.MaxMessageSize)
}

// Redact turns every run of control, invisible, invalid and space characters into one space, and replaces each of the secrets. A
// secret is found as it is, URL-escaped, quoted for JSON or HTML, in hex, and in base64 at any alignment, whatever its letters' case.
// It must come before any cutting: half a secret is not found.
func Redact(text string, secrets ...token.Secret) string { return redact(plain(text), secrets) }

// Cut shortens text to at most size bytes, between two characters, and marks the loss with three dots.
func Cut(text string, size int) string {
	if len(text) <= size {
		return text
	}
	if size < len(ellipsis) {
		return ""
	}
	end := size - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}

// plain leaves only visible characters and single spaces. It runs before redact and joins nothing, so that no secret can appear
// where none was seen.
func plain(text string) string {
	visible := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return strings.Join(strings.Fields(visible), " ")
}

// redact covers every occurrence, also where two overlap.
func redact(text string, secrets []token.Secret) string {
	lower := lowerASCII(text)
	covered := make([]bool, len(text))
	for _, secret := range secrets {
		if secret.IsZero() {
			continue
		}
		for _, form := range disguises(secret.Reveal()) {
			cover(covered, lower, lowerASCII(form))
		}
	}
	var b strings.Builder
	for i := range len(text) {
		if !covered[i] {
			b.WriteByte(text[i])
		} else if i == 0 || !covered[i-1] {
			b.WriteString(redaction)
		}
	}
	return b.String()
}

func cover(covered []bool, text, form string) {
	// Text is valid UTF-8; a form that is not could only match within a character.
	if !utf8.ValidString(form) {
		return
	}
	done := 0
	for from := 0; ; from++ {
		i := strings.Index(text[from:], form)
		if i < 0 {
			return
		}
		from += i
		for j := max(from, done); j < from+len(form); j++ {
			covered[j] = true
		}
		done = from + len(form)
	}
}

// lowerASCII changes no positions, unlike strings.ToLower.
func lowerASCII(text string) string {
	b := []byte(text)
	for i := range b {
		if 'A' <= b[i] && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// disguises lists the forms in which a secret may be echoed.
func disguises(secret string) []string {
	forms := []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret), hex.EncodeToString([]byte(secret)),
	}
	if quoted, err := json.Marshal(secret); err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			if core := base64Core(encoding, secret, shift); len(core) >= shortestCore {
				forms = append(forms, core)
			}
		}
	}
	return forms
}

// base64Core is the part of the encoding of a longer text that the secret alone decides, if it begins shift bytes (modulo 3) into it.
func base64Core(encoding *base64.Encoding, secret string, shift int) string {
	encoded := encoding.EncodeToString(append(make([]byte, shift), secret...))
	from := (shift*8 + 5) / 6
	to := (shift + len(secret)) * 8 / 6
	if from >= to {
		return ""
	}
	return encoded[from:to]
}
