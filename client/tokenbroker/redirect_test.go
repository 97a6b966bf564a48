package tokenbroker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Servers that send clients elsewhere often repeat the whole address.
func TestARedirectThatRepeatsTheAddressShowsTheTokenToNobody(t *testing.T) {
	a := newAPI(t)
	var leaked string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked = fmt.Sprint(r.URL, r.Header) }))
	defer elsewhere.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	client := &http.Client{Transport: a.source.WeChatTransport(a.Client().Transport)}
	for _, to := range []string{elsewhere.URL, gone.URL} {
		a.answer = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/cgi-bin/user/get?q=1&r=2", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if to == elsewhere.URL && (err != nil || !strings.Contains(leaked, "q=1&r=2")) {
			t.Errorf("the other host got %q, %v", leaked, err)
		}
		if told := fmt.Sprint(leaked, err); strings.Contains(told, "shop-version") {
			t.Errorf("the token is told: %s", told)
		}
	}
}

// Else that host could have anything ordered by the token.
func TestARequestThatAnotherHostSentBackGetsNoToken(t *testing.T) {
	a := newAPI(t)
	var back []string
	to := map[string]string{"api/": "http://other/", "other/": "http://api/back"}
	base := roundTrip(func(r *http.Request) (*http.Response, error) {
		answer := httptest.NewRecorder()
		if next := to[r.URL.Host+r.URL.Path]; next != "" {
			answer.Header().Set("Location", next)
			answer.WriteHeader(http.StatusFound)
		} else {
			back = append(back, fmt.Sprint(r.URL, r.Header))
		}
		return answer.Result(), nil
	})
	for _, transport := range []http.RoundTripper{a.source.WeChatTransport(base), a.source.BearerTransport(base)} {
		post(t, transport, "http://api/", http.NoBody)
	}
	if len(back) != 2 || strings.Contains(fmt.Sprint(back), "shop-version") {
		t.Errorf("after the other host came %q", back)
	}
}

func TestARedirectToEncryptionKeepsTheTokenAndOneAwayFromItDoesNot(t *testing.T) {
	a := newAPI(t)
	for from, to := range map[string]string{"http": "https", "https": "http"} {
		var last string
		base := roundTrip(func(r *http.Request) (*http.Response, error) {
			answer := httptest.NewRecorder()
			if last = r.URL.String(); r.URL.Scheme == from {
				answer.Header().Set("Location", to+"://"+r.URL.Host+r.URL.RequestURI())
				answer.WriteHeader(http.StatusMovedPermanently)
			}
			return answer.Result(), nil
		})
		post(t, a.source.WeChatTransport(base), from+"://api/x?q=1", http.NoBody)
		want := map[string]string{"https": "https://api/x?access_token=shop-version-1&q=1", "http": "http://api/x?q=1"}[to]
		if last != want {
			t.Errorf("the request that went from %s to %s is %q, want %q", from, to, last, want)
		}
	}
}
