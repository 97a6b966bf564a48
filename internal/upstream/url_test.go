package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/internal/logtest"
	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/upstream"
)

// WeChat's classic endpoint takes the secret in the query, and net/http's errors quote URLs. The secret is not named to the client here, so that
// nothing is scrubbed: the URL must not be there at all.
func TestNoFailureShowsTheURL(t *testing.T) {
	const hidden = "c4n4ryInTheURL"
	const query = "/cgi-bin/token?grant_type=client_credential&appid=wx1&secret=" + hidden
	var logged logtest.Buffer
	ordinary := log.Writer()
	log.SetOutput(&logged)
	defer log.SetOutput(ordinary)

	closed := closedPort(t)
	secure := serveTLS(t, http.NotFoundHandler(), tls.VersionTLS13)
	known := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	mute := serveRaw(t, func(s *rawServer, conn net.Conn) { s.read(conn); waitGone(conn) })
	plain := answering(t, "HTTP/1.1 400 Bad Request\r\n\r\n")
	gone := serveRaw(t, func(s *rawServer, conn net.Conn) { s.read(conn); _ = conn.Close() })
	nonsense := answering(t, "no HTTP at all\r\n\r\n")
	half := answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
	proxy := http.ProxyURL(serveProxy(t, nil))
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no "+r.RequestURI, http.StatusProxyAuthRequired)
	}))
	defer refusing.Close()
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	quoting := func(_ context.Context, network, address string) (net.Conn, error) {
		return nil, &url.Error{Op: "Get", URL: "http://" + address + query, Err: errors.New("made up")}
	}
	short := 50 * time.Millisecond
	encrypted := func(s string) string { return strings.Replace(s, "http:", "https:", 1) }

	failed := 0
	for name, c := range map[string]struct {
		base string
		cfg  upstream.Config
	}{
		"refused":                  {"http://" + closed, upstream.Config{}},
		"no such name":             {"http://no-such-host.invalid", upstream.Config{}},
		"dial hangs":               {"http://127.0.0.1:1", upstream.Config{Dial: hang, DialTimeout: short}},
		"unknown authority":        {secure.URL, upstream.Config{RootCAs: x509.NewCertPool()}},
		"another name":             {strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), upstream.Config{RootCAs: known}},
		"no TLS there":             {encrypted(plain.url), upstream.Config{}},
		"TLS hangs":                {encrypted(mute.url), upstream.Config{TLSTimeout: short}},
		"TLS is there":             {strings.Replace(secure.URL, "https:", "http:", 1), upstream.Config{}},
		"no answer":                {mute.url, upstream.Config{Timeout: 10 * short}},
		"hangs up":                 {gone.url, upstream.Config{}},
		"no HTTP":                  {nonsense.url, upstream.Config{}},
		"half an answer":           {half.url, upstream.Config{}},
		"proxy refuses":            {"https://refused.invalid", upstream.Config{Proxy: proxy}},
		"proxy wants a password":   {"https://refused.invalid", upstream.Config{Proxy: at(strings.Replace(refusing.URL, "://", "://user:"+hidden+"@", 1))}},
		"proxy is not there":       {"https://refused.invalid", upstream.Config{Proxy: at("http://user:" + hidden + "@" + closed)}},
		"proxy's address is wrong": {"https://refused.invalid", upstream.Config{Proxy: at("http://user:" + hidden + "@[::bad")}},
		"proxy's scheme is wrong":  {"https://refused.invalid", upstream.Config{Proxy: at("gopher://user:" + hidden + "@proxy")}},
		"port is no number":        {"http://127.0.0.1:" + hidden, upstream.Config{}},
		"bad escape":               {"http://127.0.0.1/%zz" + hidden, upstream.Config{}},
		"control character":        {"http://127.0.0.1/\x7f" + hidden, upstream.Config{}},
		"unknown scheme":           {"gopher://user:" + hidden + "@127.0.0.1", upstream.Config{}},
		"no host":                  {"http:///" + hidden, upstream.Config{}},
		"dialler quotes":           {"http://127.0.0.1:1", upstream.Config{Dial: quoting}},
	} {
		client := newClient(t, c.cfg)
		answer, err := client.Do(t.Context(), get(c.base+query))
		if err == nil { // an answer with any status; what the upstream's package would make of it
			err = upstream.StatusFailure(answer)
		}
		f, ok := errors.AsType[*token.Failure](err)
		if !ok {
			t.Fatalf("%s: the error is a %T", name, err)
		}
		failed++
		var said logtest.Buffer
		slog.New(slog.NewJSONHandler(&said, nil)).Info("failed", "err", err, "failure", f)
		_, _ = fmt.Fprintf(&said, "%s %v", leaks(f), fmt.Errorf("fetching token: %w", err))
		if text := said.String(); strings.Contains(text, hidden) || strings.Contains(text, "cgi-bin") || strings.Contains(text, "secret=") {
			t.Errorf("%s: the failure shows the URL: %s", name, text)
		}
	}
	if failed < 20 || strings.Contains(logged.String(), hidden) {
		t.Errorf("%d failures; the standard log has:\n%s", failed, logged.String())
	}
}

// A redirect is an answer like any other: its Location, which may repeat the query, is not read.
func TestRedirectShowsNoURL(t *testing.T) {
	const hidden = "c4n4ryInTheLocation"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.invalid/"+r.URL.RawQuery, http.StatusFound)
	}))
	defer server.Close()
	answer, err := newClient(t, upstream.Config{}).Do(t.Context(), get(server.URL+"/path?secret="+hidden))
	if err != nil || answer.Status != http.StatusFound {
		t.Fatalf("got %d, %v", answer.Status, err)
	}
	if text := leaks(upstream.StatusFailure(answer)); strings.Contains(text, hidden) || strings.Contains(text, "elsewhere") {
		t.Errorf("the failure shows where to: %s", text)
	}
}
