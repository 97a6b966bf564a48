package upstream_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
)

const canary = "c4n4ry+/=&%s3cret"

// leaks lists every way in which a failure may be printed.
func leaks(f *token.Failure) string {
	encoded, _ := json.Marshal(f)
	return fmt.Sprintf("%v %+v %#v %s %s", f, f, f, encoded, f.Error())
}

func TestNoFailureQuotesWhatTheServerEchoes(t *testing.T) {
	var logged logtest.Buffer
	ordinary := log.Writer()
	log.SetOutput(&logged)
	defer log.SetOutput(ordinary)

	echoes := map[string]string{
		"status line": "HTTP/1.1 %s\r\n\r\n", "no HTTP": "%s\r\n\r\n", "header": "HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"length": "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n", "encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n", "trailer": "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n%s",
	}
	for name, format := range echoes {
		for _, form := range []string{canary, url.QueryEscape(canary)} {
			server := answering(t, fmt.Sprintf(format, form))
			f := fail(t, t.Context(), newClient(t, upstream.Config{}), upstream.Request{
				Method: http.MethodPost, URL: server.url + "/path?secret=" + url.QueryEscape(canary), Body: []byte(canary),
				Secrets: []token.Secret{token.NewSecret(canary)},
			})
			if strings.Contains(leaks(f), form) {
				t.Errorf("%s: the failure quotes the secret: %v", name, f)
			}
		}
	}
	// One that speaks before it is asked, which net/http writes to the standard log.
	early := serveRaw(t, func(s *rawServer, conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		waitGone(conn)
	})
	for range 20 {
		_, _ = newClient(t, upstream.Config{}).Do(t.Context(), get(early.url+"/path?secret="+url.QueryEscape(canary)))
	}
	if strings.Contains(logged.String(), "c4n4ry") {
		t.Errorf("the standard log has the secret: %s", logged.String())
	}
}

func TestScrubFindsASecretInEveryDisguise(t *testing.T) {
	quoted, err := json.Marshal(canary)
	if err != nil {
		t.Fatal(err)
	}
	forms := []string{
		canary, url.QueryEscape(canary), url.PathEscape(canary), strings.ToLower(url.QueryEscape(canary)), string(quoted[1 : len(quoted)-1]),
		fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), strings.ToUpper(canary), strings.ReplaceAll(canary, "&", "&amp;"),
	}
	for _, form := range forms {
		if got := upstream.Scrub("<"+form+">", token.NewSecret(canary)); got != "<[redacted]>" {
			t.Errorf("Scrub(<%s>) = %s", form, got)
		}
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
		for _, prefix := range []string{"", "a", "ab", "abc", "appid:"} {
			got := upstream.Scrub(encoding.EncodeToString([]byte(prefix+canary+"tail")), token.NewSecret(canary))
			// What is left of the secret are the bits that it shares with its neighbours.
			if !strings.Contains(got, "[redacted]") || len(got) > len("[redacted]")+16 {
				t.Errorf("after %q: %s", prefix, got)
			}
		}
	}
}

func TestScrubTakesOutSeveralSecrets(t *testing.T) {
	got := upstream.Scrub("one two three", token.NewSecret("one"), token.NewSecret("three"), token.Secret{})
	if got != "[redacted] two [redacted]" {
		t.Errorf("got %q", got)
	}
	// Secrets that contain each other or overlap leave no remainder.
	for _, text := range []string{"abcdef", "abcdefgh", "abcdefabcdef"} {
		got := upstream.Scrub(text, token.NewSecret("bcd"), token.NewSecret("abcdef"), token.NewSecret("efgh"))
		if got != "[redacted]" {
			t.Errorf("Scrub(%s) = %s", text, got)
		}
	}
}

func TestScrubLeavesOneVisibleLine(t *testing.T) {
	got := upstream.Scrub(" a\r\n\tb\x00\x1b[31mc\u202ed\u200be\xff\xfef\u00a0 g\u2028")
	if want := "a b [31mc d e f g"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := upstream.Scrub("系统繁忙，请稍候再试"); got != "系统繁忙，请稍候再试" {
		t.Errorf("got %q", got)
	}
}

func TestScrubCutsBetweenCharactersAndAfterRedacting(t *testing.T) {
	for shift := range 4 {
		got := upstream.Scrub(strings.Repeat("x", shift) + strings.Repeat("界", 400))
		if len(got) > token.MaxMessageSize || len(got) < token.MaxMessageSize-3 || !utf8.ValidString(got) || !strings.HasSuffix(got, "...") {
			t.Errorf("shift %d: %d bytes, valid %v", shift, len(got), utf8.ValidString(got))
		}
	}
	// A secret across the cut would survive in half if the cut came first.
	got := upstream.Scrub(strings.Repeat("x", token.MaxMessageSize-10)+canary, token.NewSecret(canary))
	if strings.Contains(got, canary[:4]) {
		t.Errorf("half of the secret is left: %s", got[len(got)-20:])
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("invalid appsecret hunter2secret rid: 1-2-3", "hunter2secret")
	f.Add("\xff\x00aGVsbG8", "hello")
	f.Fuzz(func(t *testing.T, text, secret string) {
		got := upstream.Scrub(text, token.NewSecret(secret))
		if len(got) > token.MaxMessageSize || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x00") {
			t.Errorf("Scrub(%q) = %q", text, got)
		}
		if len(secret) > len("redacted") && alphanumeric(secret) && strings.Contains(got, secret) {
			t.Errorf("Scrub(%q) leaves %q", text, secret)
		}
	})
}

func alphanumeric(text string) bool {
	return strings.Trim(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
