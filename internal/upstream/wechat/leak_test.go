package wechat_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream/wechat"
)

// capture is everything that was printed. It is safe for concurrent use.
type capture struct{ logtest.Buffer }

// show prints a value in every way that the broker could.
func (c *capture) show(v any) {
	encoded, err := json.Marshal(v)
	if err != nil {
		encoded = []byte(err.Error())
	}
	_, _ = fmt.Fprintf(c, "%v %+v %#v %s %s\n", v, v, v, v, encoded)
	slog.New(slog.NewJSONHandler(c, nil)).Info("shown", "value", v)
	slog.New(slog.NewTextHandler(c, nil)).Info("shown", "value", v)
}

// A hostile upstream echoes what it was sent, token and secret, in every place of an answer that is ever quoted.
func TestNeitherSecretNorTokenIsEverPrinted(t *testing.T) {
	const value = "10_t0kenC4n4ry/with+odd=characters"
	var printed capture
	ordinary := log.Writer()
	log.SetOutput(&printed)
	defer log.SetOutput(ordinary)

	var script struct{ format, escaped string }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if script.format == "hijack" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = fmt.Fprintf(conn, "%s %s\r\n\r\n", r.URL, body)
				_ = conn.Close()
			}
			return
		}
		_, _ = fmt.Fprintf(w, script.format, script.escaped)
	}))
	defer server.Close()

	escapes := []func(string) string{
		func(s string) string { return s }, url.QueryEscape, url.PathEscape,
		func(s string) string { return strings.ToLower(url.QueryEscape(s)) },
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x" + s)) },
		func(s string) string { return fmt.Sprintf("%x", s) },
		func(s string) string { return strings.Repeat("y", 500) + s },
		func(s string) string { return strings.Repeat("系", 170) + s },
		func(s string) string { return "rid: " + s },
	}
	formats := []string{
		"hijack", `{"errcode":40013,"errmsg":"%s"}`, `{"errcode":40164,"errmsg":"invalid ip %s"}`, `{"errcode":1,"errmsg":"%s rid: 1-2-3"}`,
		`{"errcode":"%s"}`, `{"access_token":"a b%s"}`, `{"access_token":"%s"}`, `{"access_token":"%s","expires_in":0}`, `%s`,
		`{"errcode":40013,"access_token":"%s"}`, `{"access_token":"%s","expires_in":7200}`,
	}
	for mode := range modes {
		client := newClient(t, server.URL, wechat.Config{Mode: mode})
		for _, script.format = range formats {
			for _, escape := range escapes {
				for _, hidden := range []string{secret, value} {
					script.escaped = escape(hidden)
					if hidden == secret {
						grant, err := client.Fetch(t.Context(), token.FetchRequest{})
						printed.show(grant)
						printed.show(err)
					}
					health, err := client.Probe(t.Context(), token.NewSecret(value))
					printed.show(health)
					printed.show(err)
				}
			}
		}
		printed.show(client.Traits())
	}
	text := printed.String()
	for _, hidden := range []string{secret, value} {
		for _, escape := range escapes[:4] {
			if i := strings.Index(text, escape(hidden)); i >= 0 {
				t.Errorf("printed: %.300s", text[max(0, i-100):])
			}
		}
		if strings.Contains(text, fmt.Sprintf("%x", hidden)) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("x" + hidden))[3:20]) {
			t.Error("printed in hex or base64")
		}
		if strings.Contains(text, hidden[:12]) {
			i := strings.Index(text, hidden[:12])
			t.Errorf("printed in part: %.300s", text[max(0, i-100):])
		}
	}
	if len(text) < 1<<16 {
		t.Errorf("only %d bytes were printed: the test looked at nothing", len(text))
	}
}

func TestRequestIDThatIsATokenIsNotKept(t *testing.T) {
	value := strings.Repeat("t0kenC4n4ry", 20) // longer than any request id
	body := fmt.Sprintf(`{"errcode":-1,"errmsg":"%s rid: %s"}`, strings.Repeat("x", 600), value)
	_, err := answering(t, wechat.Config{}, 200, body).Probe(t.Context(), token.NewSecret(value))
	if f := failure(t, err); f.Code != "-1" || strings.Contains(f.Message, "t0ken") {
		t.Errorf("%+v", f)
	}
}
