package tokenbroker_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker"
	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

// api is a server that takes one token and refuses all others, as WeChat does.
type api struct {
	*httptest.Server
	broker *tokenbrokertest.Broker
	source *tokenbroker.Source

	mu     sync.Mutex
	token  string
	got    []string // what was posted with a good token
	answer http.HandlerFunc
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{broker: tokenbrokertest.New(t)}
	a.broker.Set("shop", "shop-version-1", time.Hour)
	a.token = "shop-version-1"
	a.source = a.broker.Client().Source("shop")
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// accept has the API take this token from now on.
func (a *api) accept(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = token
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	bearer := r.Header.Get("Authorization")
	switch {
	case strings.HasPrefix(r.URL.Path, "/bearer") && bearer != "Bearer "+a.token:
		w.WriteHeader(http.StatusUnauthorized)
	case !strings.HasPrefix(r.URL.Path, "/bearer") && r.URL.Query().Get("access_token") != a.token:
		_, _ = io.WriteString(w, `{"errcode":40001,"errmsg":"invalid credential, access_token is invalid or not latest"}`)
	case a.answer != nil:
		a.answer(w, r)
	default:
		a.got = append(a.got, r.URL.Query().Get("q")+string(body))
		_, _ = io.WriteString(w, `{"errcode":0,"errmsg":"ok"}`)
	}
}

// post posts a body through a transport and returns the answer.
func post(t *testing.T, transport http.RoundTripper, url string, body io.Reader) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(fmt.Sprint(resp.Request.URL, req.URL, req.Header), "shop-version") {
		t.Error("the request that the caller sees has the token")
	}
	return string(answer)
}

func TestTheTransportsAddTheToken(t *testing.T) {
	a := newAPI(t)
	base := a.Client().Transport
	for path, transport := range map[string]http.RoundTripper{
		"/cgi-bin/user/get?q=1&access_token=old": a.source.WeChatTransport(base),
		"/bearer?q=1":                            a.source.BearerTransport(base),
	} {
		if got := post(t, transport, a.URL+path, strings.NewReader("body")); !strings.Contains(got, `"errcode":0`) {
			t.Errorf("%s: %s", path, got)
		}
	}
	if len(a.got) != 2 || a.got[0] != "1body" || a.got[1] != "1body" {
		t.Errorf("the API got %q", a.got)
	}
}

func TestTheTransportsReportADeadTokenAndSendTheRequestOnceMore(t *testing.T) {
	a := newAPI(t)
	base := a.Client().Transport
	version := 1
	for path, transport := range map[string]http.RoundTripper{
		"/cgi-bin/user/get": a.source.WeChatTransport(base),
		"/bearer":           a.source.BearerTransport(base),
	} {
		version++
		a.accept(fmt.Sprintf("shop-version-%d", version)) // and so not the one before it
		if got := post(t, transport, a.URL+path, strings.NewReader("body")); !strings.Contains(got, `"errcode":0`) {
			t.Errorf("%s: %s", path, got)
		}
	}
	if n := a.broker.Reports("shop"); n != 2 || len(a.got) != 2 || a.got[1] != "body" {
		t.Errorf("%d reports, the API got %q", n, a.got)
	}
}

func TestARequestIsSentOnceMoreOnly(t *testing.T) {
	a := newAPI(t)
	a.accept("none")
	got := post(t, a.source.WeChatTransport(a.Client().Transport), a.URL, strings.NewReader("body"))
	if !strings.Contains(got, "40001") || a.broker.Reports("shop") != 1 {
		t.Errorf("%s, %d reports", got, a.broker.Reports("shop"))
	}
}

func TestABodyThatCannotBeHadAgainIsNotSentAgainButTheTokenIsReported(t *testing.T) {
	a := newAPI(t)
	a.accept("shop-version-2")
	transport := a.source.WeChatTransport(a.Client().Transport)
	got := post(t, transport, a.URL, io.MultiReader(strings.NewReader("body")))
	if !strings.Contains(got, "40001") {
		t.Errorf("got %s", got)
	}
	if got := post(t, transport, a.URL, io.MultiReader(strings.NewReader("next"))); !strings.Contains(got, `"errcode":0`) {
		t.Errorf("got %s", got)
	}
	if n := a.broker.Reports("shop"); n != 1 || len(a.got) != 1 || a.got[0] != "next" {
		t.Errorf("%d reports, the API got %q", n, a.got)
	}
}

func TestOtherErrorsAreNotReported(t *testing.T) {
	a := newAPI(t)
	for _, answer := range []string{
		`{"errcode":48001,"errmsg":"api unauthorized"}`, `{"errcode":"40001"}`, `{"data":{"errcode":40001}}`, `[40001]`, `{"errcode":40001`[:9], ``, `40001`,
		strings.Repeat(" ", 5000) + `{"errcode":40001}`,
	} {
		a.answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }
		if got := post(t, a.source.WeChatTransport(a.Client().Transport), a.URL, http.NoBody); got != answer {
			t.Errorf("%q became %q", answer, got)
		}
	}
	if n := a.broker.Reports("shop"); n != 0 {
		t.Errorf("%d reports", n)
	}
}

// An answer that is long, or that comes slowly, is passed on as it comes.
func TestAnAnswerIsPassedOnWhileItComes(t *testing.T) {
	for name, first := range map[string]string{"media": "\x89PNG", "json": `{"errcode":0,"list":[`, "long": `{"list":"` + strings.Repeat("x", 1<<16)} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			rest := strings.Repeat("rest", 1<<16)
			read := make(chan struct{})
			a.answer = func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, first)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-read:
				case <-r.Context().Done():
				}
				_, _ = io.WriteString(w, rest)
			}
			client := &http.Client{Transport: a.source.WeChatTransport(a.Client().Transport)}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			head := make([]byte, len(first))
			if _, err := io.ReadFull(resp.Body, head); err != nil || string(head) != first {
				t.Errorf("got %q, %v", head, err)
			}
			close(read)
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != rest {
				t.Errorf("the rest has %d bytes, want %d: %v", len(got), len(rest), err)
			}
		})
	}
}

func TestARedirectToAnotherHostGetsNoToken(t *testing.T) {
	a := newAPI(t)
	var leaked string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leaked = fmt.Sprint(r.URL, r.Header)
	}))
	defer elsewhere.Close()
	a.answer = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/x", http.StatusTemporaryRedirect)
	}
	for path, transport := range map[string]http.RoundTripper{
		"/cgi-bin/user/get": a.source.WeChatTransport(a.Client().Transport),
		"/bearer":           a.source.BearerTransport(a.Client().Transport),
	} {
		leaked = ""
		post(t, transport, a.URL+path, strings.NewReader("body"))
		if leaked == "" || strings.Contains(leaked, "shop-version") {
			t.Errorf("%s: the other host got %q", path, leaked)
		}
	}
}

func TestARequestWithoutATokenFailsAndClosesItsBody(t *testing.T) {
	source := tokenbrokertest.New(t).Client().Source("nobody")
	body := &closing{Reader: strings.NewReader("body")}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.weixin.qq.com", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := source.WeChatTransport(nil).RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	refused := &tokenbroker.Error{}
	if !errors.As(err, &refused) || !body.closed {
		t.Errorf("got %v, body closed: %t", err, body.closed)
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

// Whatever an answer is, it arrives unharmed, and only a refusal of the token is taken for one.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{"errcode":40001}`, ` {"errmsg":"x","errcode":42001}`, `{"a":{"errcode":40014}}`, `{`, "", "\xff", `{"errcode":4.0e4}`, `{"errcode":1e999}`} {
		f.Add([]byte(seed))
	}
	broker := tokenbrokertest.New(f)
	broker.Set("shop", "one", time.Hour)
	broker.Vouch("shop")
	source := broker.Client().Source("shop")
	f.Fuzz(func(t *testing.T, answer []byte) {
		transport := source.WeChatTransport(roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(answer))}, nil
		}))
		before := broker.Reports("shop")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.weixin.qq.com", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, answer) {
			t.Errorf("%q became %q, %v", answer, got, err)
		}
		if broker.Reports("shop") > before && !bytes.Contains(answer, []byte("errcode")) && !bytes.Contains(answer, []byte(`\`)) {
			t.Errorf("%q was taken for a refusal", answer)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }
