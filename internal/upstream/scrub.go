package upstream

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"slices"
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

// Scrub makes foreign text fit to be kept and shown: every run of control, invisible, invalid and space characters becomes one space,
// each of the secrets is replaced, and the rest is cut to token.MaxMessageSize bytes between two characters. A secret is found as it
// is, URL-escaped, quoted for JSON or HTML, in hex, and in base64 at any alignment.
func Scrub(text string, secrets ...token.Secret) string {
	return Cut(redact(plain(text), secrets), token.MaxMessageSize)
}

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

func redact(text string, secrets []token.Secret) string {
	var forms []string
	for _, secret := range secrets {
		if !secret.IsZero() {
			forms = append(forms, disguises(secret.Reveal())...)
		}
	}
	if len(forms) == 0 {
		return text
	}
	// The replacer takes the first that fits, so the longest come first.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range forms {
		pairs = append(pairs, form, redaction)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// disguises lists the forms in which a secret may be echoed.
func disguises(secret string) []string {
	query, path := url.QueryEscape(secret), url.PathEscape(secret)
	inHex := hex.EncodeToString([]byte(secret))
	forms := []string{
		secret, query, path, lowerEscapes(query), lowerEscapes(path), html.EscapeString(secret), inHex, strings.ToUpper(inHex),
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

// lowerEscapes turns %2B into %2b.
func lowerEscapes(escaped string) string {
	b := []byte(escaped)
	for i := range b {
		if b[i] == '%' && i+2 < len(b) {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
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
